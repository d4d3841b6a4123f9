"""One HTTP request on our server: its body within limits, its answer at the client's pace."""

# ruff: noqa: N802, N815 - the camel case is Twisted's

from __future__ import annotations

import asyncio
from typing import Any

from daphne.http_protocol import WebRequest
from twisted.internet.interfaces import IPushProducer
from twisted.web.http import RESPONSES
from zope.interface import implementer

from apps.api.bodies import is_upload
from responses_gateway.envelopes import envelope

LINGER = 10.0
"""Seconds for which a client may go on sending a body that was refused."""

RESPONSES.setdefault(426, b"Upgrade Required")  # Twisted does not know it


@implementer(IPushProducer)
class Flow:
    """Whether a client keeps up. Twisted pauses it while more than 64 KiB wait for the socket."""

    def __init__(self) -> None:
        self.paused: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        if self.paused is not None:
            # Shielded: an application that is cancelled here may still send its last words.
            await asyncio.shield(self.paused)

    def pauseProducing(self) -> None:
        if self.paused is None:
            self.paused = asyncio.get_running_loop().create_future()

    def resumeProducing(self) -> None:
        paused, self.paused = self.paused, None
        if paused is not None and not paused.done():
            paused.set_result(None)

    stopProducing = resumeProducing


class Request(WebRequest):  # type: ignore[misc]  # Daphne has no types
    """One request: bounds the body while it arrives, and the response by what the client reads."""

    # Daphne's keys of its table; it has the same in Python.
    __hash__, __eq__ = object.__hash__, object.__eq__

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Forms are the application's: Twisted would read them a second time, into memory.
        super().__init__(*args, parsePOSTFormSubmission=False, **kwargs)
        self.flow = Flow()
        self.received = 0
        self.refused = False
        self.is_upload = False  # whether the body may be a file for the API

    # -- body limit --------------------------------------------------------------------------------

    @property
    def limit(self) -> tuple[int, str]:
        """The most bytes, and the setting that says so."""
        if self.is_upload:
            return self.server.max_upload_bytes, "GATEWAY_FILE_BYTES"
        return self.server.max_body_bytes, "GATEWAY_MAX_BODY_BYTES"

    def gotLength(self, length: int | None) -> None:
        """The headers are known. The path is the channel's until the body is there."""
        media_type = self.requestHeaders.getRawHeaders(b"content-type", [b""])[0]
        self.is_upload = self.channel._path.startswith(b"/v1/") and is_upload(media_type)
        too_large = length is not None and length > self.limit[0]
        super().gotLength(0 if too_large else length)
        if too_large:
            self.refuse()

    def handleContentChunk(self, data: bytes) -> None:
        self.received += len(data)
        if not self.refused and self.received > self.limit[0]:
            self.content.truncate(0)
            self.refuse()
        if not self.refused:
            super().handleContentChunk(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        if self.refused:
            self.channel.loseConnection()
        else:
            super().requestReceived(command, path, version)

    def refuse(self) -> None:
        """Answer 413 at once, and read on for a moment without keeping anything.

        Closing while the client sends would reset the connection, and with it the answer.
        """
        self.refused = True
        self.requestHeaders.removeHeader(b"expect")  # no "100 Continue" after the answer
        limit, setting = self.limit
        message = f"The request body is larger than {limit} bytes ({setting})."
        body, headers = envelope("request_too_large", message, kind="invalid_request_error")
        headers += [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        self.channel.writeHeaders(b"HTTP/1.1", b"413", b"Content Too Large", headers)
        self.channel.write(body)
        transport = self.channel.transport
        transport.loseWriteConnection()
        asyncio.get_running_loop().call_later(LINGER, transport.abortConnection)

    # -- WebSockets --------------------------------------------------------------------------------

    def process(self) -> Any:
        upgrade = self.requestHeaders.getRawHeaders(b"upgrade", [b""])[0]
        if upgrade.lower() == b"websocket":
            # Clients that prefer WebSockets take this one answer as final and go on over HTTP.
            self.answer_error(
                426, "websocket_not_supported", "WebSockets are not supported: use HTTP."
            )
            return None
        return super().process()

    # -- back-pressure -----------------------------------------------------------------------------

    def handle_reply(self, message: dict[str, Any]) -> None:
        if self.finished or self.channel is None:
            return
        if message["type"] != "http.response.body":
            super().handle_reply(message)
            return
        more, transport = message.get("more_body"), self.channel.transport
        if more and self.producer is None:
            self.registerProducer(self.flow, True)
        elif not more and self.producer is not None:
            self.unregisterProducer()
        if more and self.chunked:  # it has begun: all that is left to do is this
            if body := message["body"]:
                transport.write(b"%x\r\n%b\r\n" % (len(body), body))
            return
        holds = transport.hold()  # headers and body, or the last chunk and the end
        try:
            super().handle_reply(message)
        finally:
            if holds:
                transport.release()

    def unregisterProducer(self) -> None:
        self.flow.resumeProducing()
        super().unregisterProducer()

    def connectionLost(self, reason: Any) -> None:
        self.flow.resumeProducing()
        super().connectionLost(reason)

    # -- errors ------------------------------------------------------------------------------------

    def basic_error(self, status: int, status_text: bytes, body: str) -> None:
        """What Daphne itself refuses, in the API's form instead of a page."""
        self.answer_error(status, "bad_request" if status < 500 else "server_error", body)

    def answer_error(self, status: int, code: str, message: str) -> None:
        kind = "invalid_request_error" if status < 500 else "server_error"
        content, headers = envelope(code, message, kind=kind)
        self.handle_reply({"type": "http.response.start", "status": status, "headers": headers})
        self.handle_reply({"type": "http.response.body", "body": content})

    def handle_exception(self, exception: BaseException) -> None:
        if self._response_started:
            # Only a cut tells the client that the response is not whole.
            self.channel.loseConnection()
        else:
            super().handle_exception(exception)
