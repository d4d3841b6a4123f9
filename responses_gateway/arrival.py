"""Connections on which requests have to arrive in time.

Twisted's own limit begins anew with each byte: clients that send one now and then could hold as many
connections as they like, for ever. And it sets a timer several times for each request; here a limit
is a number, which is looked at now and then. Heads are read at once (``heads.py``), not line by line.
"""

# ruff: noqa: N802, N815 - the camel case is Twisted's

from __future__ import annotations

import time
from typing import Any

from twisted.web.http import HTTPChannel

from responses_gateway.envelopes import envelope
from responses_gateway.heads import LARGEST, Head, MalformedHeadError, read_head
from responses_gateway.request import BodyTooLargeError

IDLE = 75.0  # seconds between requests: longer than proxies keep a connection that they may use
LOOK_EVERY = 0.25  # seconds, by which limits may be late
PROGRESS = 64 * 1024  # bytes of a body after which it has some time again
LINGER = 10.0  # seconds for which a client may go on sending what was refused


class Channel(HTTPChannel):  # type: ignore[misc]  # Twisted's is not typed
    """From its first byte on, a request has ``request_timeout`` seconds, and as many for each
    further 64 KiB of its body. It is refused with 408 then."""

    delimiter = b"\r\n\r\n"  # what Twisted takes for a line is a whole head
    MAX_LENGTH = LARGEST

    timeOut: float | None = IDLE
    arriving = False
    progress = 0
    due: float | None = None
    unsent = 0  # bytes of answers, when a limit was last reached

    def connectionMade(self) -> None:
        # Twisted asks the kernel for each request.
        self._peer, self._host = self.transport.getPeer(), self.transport.getHost()
        super().connectionMade()
        self.factory.channels.add(self)

    def connectionLost(self, reason: Any) -> None:
        self.factory.channels.discard(self)
        super().connectionLost(reason)

    def getPeer(self) -> Any:
        return self._peer

    def getHost(self) -> Any:
        return self._host

    # -- time --------------------------------------------------------------------------------------

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

    def timeoutConnection(self) -> None:
        before, self.unsent = self.unsent, self.transport.unsent
        if self.unsent != before:
            self.setTimeout(self.timeOut)  # the client still takes an earlier answer
        elif self.arriving:
            limit = self.factory.server.request_timeout
            message = f"The request took more than {limit:g} seconds (GATEWAY_REQUEST_TIMEOUT)."
            self.refuse(b"408 Request Timeout", "request_timeout", message)
        else:
            super().timeoutConnection()

    # -- arrival -----------------------------------------------------------------------------------

    def lineReceived(self, line: bytes) -> None:
        """A head has come."""
        if not (line := line.lstrip(b"\r\n")):
            return  # some clients send an empty line after a body
        try:
            head = read_head(line + self.delimiter)
            self._begin(self.requestFactory(self, head), head)
        except MalformedHeadError as exc:
            self.refuse(b"400 Bad Request", "bad_request", str(exc))
        except BodyTooLargeError as exc:
            self.refuse_body(exc)

    def _begin(self, request: Any, head: Head) -> None:
        self.requests.append(request)
        self.persistent = head.is_persistent
        self._command, self._path, self._version = head.method, head.target, head.version
        if head.length is None:
            self._maybeChooseTransferDecoder(b"Transfer-Encoding", b"chunked")
        elif head.length:
            self._maybeChooseTransferDecoder(b"Content-Length", b"%d" % head.length)
        request.gotLength(head.length)
        if head.expects_continue:
            self._send100Continue()
        if head.length == 0:
            self.allContentReceived()
        else:
            self.setRawMode()

    def lineLengthExceeded(self, line: bytes) -> None:
        """A head does not come to its end."""
        message = f"The request's headers are larger than {LARGEST} bytes."
        self.refuse(b"431 Request Header Fields Too Large", "headers_too_large", message)

    def rawDataReceived(self, data: bytes) -> None:
        if self.arriving:
            self.progress += len(data)
            if self.progress >= PROGRESS:
                self.progress = 0
                self.setTimeout(self.timeOut)
        try:
            super().rawDataReceived(data)
        except BodyTooLargeError as exc:
            self.refuse_body(exc)

    def allContentReceived(self) -> None:
        self.arriving = False
        self.timeOut = IDLE  # from the end of the answer on
        super().allContentReceived()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Twisted calls this for chunks of a body that are none."""
        self.refuse(b"400 Bad Request", "bad_request", "The body's chunks are malformed.")

    # -- refusals ----------------------------------------------------------------------------------

    def refuse_body(self, error: BodyTooLargeError) -> None:
        self.refuse(b"413 Content Too Large", "request_too_large", str(error))

    def refuse(self, status: bytes, code: str, message: str) -> None:
        """Answer a request that has not arrived, the last one of this connection.

        Closing while the client sends would reset the connection, and with it this answer and those
        before it. So it is read from for a moment, and nothing is kept."""
        body, headers = envelope(code, message, kind="invalid_request_error")
        headers += [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        lines = [b"HTTP/1.1 " + status, *(b"%b: %b" % header for header in headers)]
        self.write(b"\r\n".join([*lines, b"", body]))
        self.clearLineBuffer()
        self.arriving, self.dataReceived = False, lambda data: None
        self.setTimeout(LINGER)
        self.transport.unregisterProducer()  # of answers: there are no more
        self.transport.loseWriteConnection()
        self.transport.resumeProducing()
