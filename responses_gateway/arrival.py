"""Connections on which requests have to arrive in time.

Twisted's own limit begins anew with each byte: clients that send one now and then could hold as many
connections as they like, for ever. And it sets a timer several times for each request; here a limit
is a number, which is looked at now and then.
"""

# ruff: noqa: N802, N815 - the camel case is Twisted's

from __future__ import annotations

import time
from typing import Any

from twisted.web.http import HTTPChannel

from responses_gateway.envelopes import envelope

IDLE = 75.0  # seconds between requests: longer than proxies keep a connection that they may use
LOOK_EVERY = 0.25  # seconds, by which limits may be late
PROGRESS = 64 * 1024  # bytes of a body after which it has some time again


class Channel(HTTPChannel):  # type: ignore[misc]  # Twisted's is not typed
    """From its first byte on, a request has ``request_timeout`` seconds, and as many for each
    further 64 KiB of its body. It is refused with 408 then."""

    timeOut: float | None = IDLE
    arriving = False
    progress = 0
    due: float | None = None

    def connectionMade(self) -> None:
        super().connectionMade()
        self.factory.channels.add(self)

    def connectionLost(self, reason: Any) -> None:
        self.factory.channels.discard(self)
        super().connectionLost(reason)

    def setTimeout(self, period: float | None) -> float | None:
        before, self.timeOut = self.timeOut, period
        self.due = None if period is None else time.monotonic() + period
        return before

    def look(self) -> None:
        """Called every ``LOOK_EVERY`` seconds."""
        if self.due is not None and time.monotonic() >= self.due:
            self.due = None
            self.timeoutConnection()

    def resetTimeout(self) -> None:
        """Called for whatever arrives."""
        if not self.arriving and not self._handlingRequest:
            self.arriving, self.progress = True, 0
            self.setTimeout(self.factory.server.request_timeout)

    def rawDataReceived(self, data: bytes) -> None:
        if self.arriving:
            self.progress += len(data)
            if self.progress >= PROGRESS:
                self.progress = 0
                self.setTimeout(self.timeOut)
        super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        self.arriving = False
        self.timeOut = IDLE  # from the end of the answer on
        super().allContentReceived()

    def timeoutConnection(self) -> None:
        if self.arriving and not (self.requests and self.requests[-1].refused):
            self._refuse()
        super().timeoutConnection()

    def _refuse(self) -> None:
        limit = self.factory.server.request_timeout
        message = f"The request took more than {limit:g} seconds (GATEWAY_REQUEST_TIMEOUT)."
        body, headers = envelope("request_timeout", message, kind="invalid_request_error")
        headers += [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        self.writeHeaders(b"HTTP/1.1", b"408", b"Request Timeout", headers)
        self.write(body)
