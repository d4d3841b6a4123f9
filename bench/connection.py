"""HTTP/1.1 of the load generator: one kept connection, one request at a time. It reads bodies with
a length and chunked ones, and hands on what each read completes."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

PATIENCE = 60.0
"""Seconds for a whole answer."""


class Reader(Protocol):
    """Takes an answer as it comes."""

    def head(self, status: int) -> None: ...

    def body(self, data: bytes) -> None: ...


class Broken(Exception):
    """The connection ended, or the answer did not."""


class Connection(asyncio.Protocol):
    """Opened at the first request, and again when it was closed."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[None] | None = None
        self._rest = b""
        self._left: int | None = None  # of a body with a length; None while the head is awaited
        self._chunked = False

    async def ask(self, request: bytes, reader: Reader) -> None:
        """Send a request; returns after the last byte of the answer. Raises Broken."""
        loop = asyncio.get_running_loop()
        try:
            if self._transport is None or self._transport.is_closing():
                await loop.create_connection(lambda: self, self._host, self._port)
            assert self._transport is not None
            self._reader, self._rest, self._left, self._chunked = reader, b"", None, False
            self._answer = loop.create_future()
            late = loop.call_later(PATIENCE, self._fail, f"no end within {PATIENCE:.0f} s")
            self._transport.write(request)
            await self._answer
            late.cancel()
        except OSError as exc:
            raise Broken(repr(exc)) from exc

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- What asyncio calls -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._fail("the connection was closed")

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data, self._rest = self._rest + data, b""
        if self._left is None:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._rest = head
                return
            self._begin(head)
        if self._chunked:
            self._read_chunks(data)
        else:
            self._read_length(data)

    # --- Reading ----------------------------------------------------------------------------------

    def _begin(self, head: bytes) -> None:
        lines = head.lower().split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines[1:])
        self._chunked = headers.get(b"transfer-encoding") == b"chunked"
        self._left = int(headers.get(b"content-length", 0))
        self._reader.head(int(lines[0].split()[1]))

    def _read_length(self, data: bytes) -> None:
        assert self._left is not None
        self._left -= len(data)
        self._reader.body(data)
        if self._left <= 0:
            self._end()

    def _read_chunks(self, data: bytes) -> None:
        """Chunks that are complete are handed on together."""
        at, size, complete = 0, -1, []
        while (line_ends := data.find(b"\r\n", at)) > 0:
            size = int(data[at:line_ends], 16)
            begins = line_ends + 2
            if len(data) < begins + size + 2:
                size = -1
                break
            complete.append(data[begins : begins + size])
            at = begins + size + 2
            if size == 0:
                break
        self._rest = data[at:]
        if complete:
            self._reader.body(complete[0] if len(complete) == 1 else b"".join(complete))
        if size == 0:
            self._end()

    def _end(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)

    def _fail(self, reason: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Broken(reason))
            self.close()
