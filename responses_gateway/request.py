"""One HTTP request on our server: its body within limits, its answer at the client's pace."""

# ruff: noqa: N802, N815 - the camel case is Twisted's

from __future__ import annotations

import asyncio
from collections import deque
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from daphne.http_protocol import WebRequest
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from apps.api.bodies import is_upload
from responses_gateway.envelopes import envelope
from responses_gateway.heads import Head

PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
WITHOUT_BODY = frozenset({204, 304})


class BodyTooLargeError(Exception):
    """More came, or is announced, than the limit that the message names."""


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


class Inbox:
    """What an application receives; asyncio's queue does far more."""

    def __init__(self) -> None:
        self._messages: deque[dict[str, Any]] = deque()
        self._reader: asyncio.Future[None] | None = None

    def put_nowait(self, message: dict[str, Any]) -> None:
        self._messages.append(message)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def get(self) -> dict[str, Any]:
        """ASGI's ``receive``; for one reader at a time."""
        while not self._messages:
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._messages.popleft()


class Request(WebRequest):  # type: ignore[misc]  # Daphne has no types
    """One request: bounds the body while it arrives, and the response by what the client reads.

    The ways of a request into the application and of its answer back are written out here: Twisted
    and Daphne keep headers in objects, each checked three times, and write an answer in pieces.
    """

    # Daphne's keys of its table; it has the same in Python.
    __hash__, __eq__ = object.__hash__, object.__eq__

    def __init__(self, channel: Any, head: Head) -> None:
        super().__init__(channel)
        self.head = head
        self.flow = Flow()
        self.received = 0
        # Whether the body may be a file for the API.
        self.is_upload = head.target.startswith(b"/v1/") and is_upload(
            head.first.get(b"content-type", b"")
        )
        self._response_started = False
        self.opening = b""  # of the answer: written with the first piece of its body
        self.in_chunks = self.has_body = True

    # -- body limit --------------------------------------------------------------------------------

    @property
    def limit(self) -> tuple[int, str]:
        """The most bytes, and the setting that says so."""
        if self.is_upload:
            return self.server.max_upload_bytes, "GATEWAY_FILE_BYTES"
        return self.server.max_body_bytes, "GATEWAY_MAX_BODY_BYTES"

    def gotLength(self, length: int | None) -> None:
        """The head is known. Raises BodyTooLargeError."""
        self._bound(length or 0)
        super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:
        """Raises BodyTooLargeError."""
        self.received += len(data)
        self._bound(self.received)
        super().handleContentChunk(data)

    def _bound(self, size: int) -> None:
        limit, setting = self.limit
        if size > limit:
            raise BodyTooLargeError(f"The request body is larger than {limit} bytes ({setting}).")

    # -- to the application ------------------------------------------------------------------------

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """The body is there."""
        self.method, self.uri, self.clientproto = command, path, version
        self.path, _, self.query_string = path.partition(b"?")
        self.process()

    def process(self) -> None:
        if self.head.first.get(b"upgrade", b"").lower() == b"websocket":
            # Clients that prefer WebSockets take this one answer as final and go on over HTTP.
            self.answer_error(
                426, "websocket_not_supported", "WebSockets are not supported: use HTTP."
            )
            return
        self.application_queue = self.server.create_application(self, self._scope())
        self.content.seek(0)
        more = True
        while more:
            piece = self.content.read(self.server.request_buffer_size)
            more = len(piece) == self.server.request_buffer_size
            self.application_queue.put_nowait(
                {"type": "http.request", "body": piece, "more_body": more}
            )

    def _scope(self) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": self.clientproto[5:].decode(),
            "method": self.method.decode(),
            "path": unquote(self.path.decode()),
            "raw_path": self.path,
            "root_path": self.server.root_path,
            "scheme": "http",
            "query_string": self.query_string,
            "headers": self._headers(),
            "client": [self.client.host, self.client.port],
            "server": [self.host.host, self.host.port],
        }

    def _headers(self) -> list[tuple[bytes, bytes]]:
        """Those that came. The body is here in one piece: Django reads no form of unknown length."""
        if self.head.length is not None:
            return self.head.headers
        kept = [header for header in self.head.headers if header[0] != b"transfer-encoding"]
        return [*kept, (b"content-length", b"%d" % self.received)]

    # -- from the application ----------------------------------------------------------------------

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Send one ASGI message. Raises ValueError for one that may not come now."""
        if self.finished or self.channel is None:
            return
        if message["type"] == "http.response.start" and not self._response_started:
            self.opening = self._opening(message["status"], message.get("headers", ()))
            self._response_started = True
        elif message["type"] == "http.response.body" and self._response_started:
            self._write(message.get("body", b""), more=message.get("more_body", False))
        else:
            raise ValueError(f"{message['type']} may not be sent now")

    def _opening(self, status: int, headers: Any) -> bytes:
        """The first lines of the answer; settles how its body is told from what comes after."""
        lines = [b"%b %d %b" % (self.clientproto, status, PHRASES.get(status, b"Unknown"))]
        lines += [b"%b: %b" % (name, value) for name, value in headers]
        names = {name.lower() for name, _ in headers}
        if b"server" not in names:
            lines.append(b"server: " + self.server.server_name.encode())
        self.has_body = self.method != b"HEAD" and status not in WITHOUT_BODY
        self.in_chunks = (
            self.has_body
            and b"content-length" not in names
            and self.clientproto == b"HTTP/1.1"  # for others the end is that of the connection
        )
        if self.in_chunks:
            lines.append(b"transfer-encoding: chunked")
        if not self.channel.persistent:
            lines.append(b"connection: close")
        opening = b"\r\n".join([*lines, b"", b""])
        if opening.count(b"\n") != len(lines) + 1 or opening.count(b"\r") != len(lines) + 1:
            raise ValueError("a header of the response has a line break")
        return opening

    def _write(self, body: bytes, *, more: bool) -> None:
        """What belongs to one message leaves in one piece."""
        if more and self.producer is None:
            self.registerProducer(self.flow, True)
        elif not more and self.producer is not None:
            self.unregisterProducer()
        if self.in_chunks:
            data = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                data += b"0\r\n\r\n"
        else:
            data = body if self.has_body else b""
        if self.opening:
            data, self.opening = self.opening + data, b""
            self.startedWriting = 1
        if data:
            self.channel.transport.write(data)
        if not more:
            self.finish()

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
