"""httpx's transport for one server nearby: connections that are kept, bodies as they come.

What one read gave is one piece, however many chunks the server made of it: for a body of tokens,
looking at each chunk in Python costs more than all that is done with the token. It is without
proxies, redirects, cookies and limits; only the time to connect is limited here.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import lru_cache
from typing import Self, cast

import httpx
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

READ_AHEAD = 64 * 1024
"""Bytes that wait for the reader before the server is held back."""

MOST_CHUNKS = 128
"""Chunks of the server in one piece, so that no stream keeps the others waiting."""

LARGEST_HEAD = 64 * 1024

BROKEN = "The server closed the connection."
NO_HTTP = "The server's answer is no HTTP."


class Answer(httpx.AsyncByteStream):
    """The answer to one request: what the parser calls, and the body as httpx reads it."""

    # The parser looks for these as well, and what it does not find costs it an exception.
    on_message_begin = on_status = on_chunk_header = on_chunk_complete = None

    def __init__(self, connection: Connection) -> None:
        self.status = 0  # not there yet
        self.headers: list[tuple[bytes, bytes]] = []
        self._connection = connection
        self._parts: list[bytes] = []
        self._waiting = 0  # bytes
        self._is_paused = self._is_complete = self._may_stay = False
        self._failure: httpx.TransportError | None = None
        self._reader: asyncio.Future[None] | None = None
        self.on_body = self._parts.append
        self._parser = HttpResponseParser(self)

    # --- What the parser calls ----------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # more of them follow
            self.headers.clear()
        else:
            self.status = status

    def on_message_complete(self) -> None:
        if self.status:
            # A second answer to one request: nobody knows what would come next.
            self._may_stay = not self._is_complete and self._parser.should_keep_alive()
            self._is_complete = True

    # --- What the connection calls ------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        self._waiting += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self.fail(httpx.RemoteProtocolError(NO_HTTP))
        if not self.status and self._waiting > LARGEST_HEAD:
            self.fail(httpx.RemoteProtocolError(NO_HTTP))
        if self._waiting > READ_AHEAD and not self._is_paused:
            self._is_paused = True
            self._connection.transport.pause_reading()
        self._wake()

    def lost(self, exc: Exception | None) -> None:
        """There is no connection any more. In order, that ends a body of no known length."""
        if exc is None and self.status and not self._is_bounded:
            self._is_complete = True
        elif not self._is_complete and self._failure is None:
            self._failure = httpx.ReadError(BROKEN)
        self._wake()

    @property
    def _is_bounded(self) -> bool:
        names = {name.lower() for name, _ in self.headers}
        return b"content-length" in names or b"transfer-encoding" in names

    def fail(self, failure: httpx.TransportError) -> None:
        self._failure, self._may_stay = failure, False
        self._connection.transport.abort()

    # --- What the reader calls ----------------------------------------------------------------

    async def head(self) -> None:
        """Wait for status and headers. Raises httpx.TransportError."""
        while not self.status:
            if self._failure is not None:
                raise self._failure
            await self._wait()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._parts:
            if self._is_complete:
                raise StopAsyncIteration
            if self._failure is not None:
                raise self._failure
            await self._wait()
        piece = b"".join(self._parts[:MOST_CHUNKS])
        del self._parts[:MOST_CHUNKS]
        if not self._parts:
            self._waiting = 0
            if self._is_paused:
                self._is_paused = False
                self._connection.transport.resume_reading()
        return piece

    async def aclose(self) -> None:
        self._connection.release(self, stays=self._may_stay and not self._is_paused)
        # It holds this answer, which holds the connection and what was sent on it: memory that would
        # stay until the garbage collector comes.
        self.__dict__.pop("_parser", None)  # may be closed again

    async def _wait(self) -> None:
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class Connection(asyncio.Protocol):
    """One connection, which carries one answer after another."""

    transport: asyncio.Transport

    def __init__(self, idle: Idle) -> None:
        self.is_lost = False
        self._idle = idle
        self._answer: Answer | None = None

    def ask(self, request: bytes) -> Answer:
        self._answer = Answer(self)
        self.transport.write(request)
        return self._answer

    def release(self, answer: Answer, *, stays: bool) -> None:
        """There is nothing more to read of this answer: use the connection again, or close it, which
        tells the server that nobody waits. May be called again, when another answer has it."""
        if self._answer is not answer:
            return
        self._answer = None
        if stays and not self.is_lost:
            self._idle.put(self)
        else:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # nobody has asked
            self.transport.abort()
        else:
            self._answer.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if self._answer is not None:
            self._answer.lost(exc)


class Idle:
    """The connections that wait for a request, the last used on top, none for longer than
    ``patience`` seconds."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[float, Connection]] = []
        self._timer: asyncio.TimerHandle | None = None

    def put(self, connection: Connection) -> None:
        self._waiting.append((self._loop.time(), connection))
        if self._timer is None:
            self._timer = self._loop.call_later(self._patience, self._sweep)

    def take(self) -> Connection | None:
        while self._waiting:
            since, connection = self._waiting.pop()
            if connection.is_lost or connection.transport.is_closing():
                continue
            if self._loop.time() - since < self._patience:
                return connection
            connection.transport.abort()
        return None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for _, connection in self._waiting:
            connection.transport.abort()
        self._waiting.clear()

    def _sweep(self) -> None:
        oldest = self._loop.time() - self._patience
        for since, connection in self._waiting:
            if since <= oldest:
                connection.transport.abort()
        self._waiting = [entry for entry in self._waiting if entry[0] > oldest]
        self._timer = None
        if self._waiting:
            self._timer = self._loop.call_at(self._waiting[0][0] + self._patience, self._sweep)


class Transport(httpx.AsyncBaseTransport):
    """For requests with a body of bytes. Idle connections are kept for ``patience`` seconds."""

    def __init__(self, *, patience: float) -> None:
        self._patience = patience
        self._idle: dict[tuple[str, str, int | None], Idle] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.ByteStream)
        origin = request.url.scheme, request.url.host, request.url.port
        if (idle := self._idle.get(origin)) is None:
            idle = self._idle[origin] = Idle(self._patience)
        connection = idle.take() or await _connect(request, idle)
        answer = connection.ask(_head(request) + b"".join(request.stream))
        try:
            await answer.head()
        except BaseException:
            await answer.aclose()
            raise
        return httpx.Response(answer.status, headers=answer.headers, stream=answer, request=request)

    async def aclose(self) -> None:
        for idle in self._idle.values():
            idle.close()
        await asyncio.sleep(0)  # which closes their sockets


def _head(request: httpx.Request) -> bytes:
    line = b"%b %b HTTP/1.1\r\n" % (request.method.encode(), request.url.raw_path)
    fields = b"".join([b"%b: %b\r\n" % field for field in request.headers.raw])
    return line + fields + b"\r\n"


async def _connect(request: httpx.Request, idle: Idle) -> Connection:
    """Raises httpx.ConnectError and ConnectTimeout: nothing was sent."""
    url, loop = request.url, asyncio.get_running_loop()
    if url.scheme not in ("http", "https") or not url.host:
        raise httpx.UnsupportedProtocol("The URL is neither http:// nor https://.")
    tls = url.scheme == "https"
    port, context = (url.port or 443, _tls()) if tls else (url.port or 80, None)
    try:
        async with asyncio.timeout(request.extensions["timeout"]["connect"]):
            _, connection = await loop.create_connection(
                lambda: Connection(idle), url.host, port, ssl=context
            )
    except TimeoutError as exc:
        raise httpx.ConnectTimeout("The server did not accept the connection in time.") from exc
    except OSError as exc:
        raise httpx.ConnectError(str(exc)) from exc
    return connection


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """Reading the certificates takes long."""
    return ssl.create_default_context()
