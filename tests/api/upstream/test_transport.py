"""The transport below the client: what it makes of bytes, and which connections it keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx
import pytest

from apps.api.upstream.transport import LARGEST_HEAD, MOST_CHUNKS, READ_AHEAD, Transport

T = TypeVar("T")

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"content-length: 5\r\n\r\nhello"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


class Server:
    """Answers each request with these bytes, and closes then if it is told to."""

    def __init__(self, answer: bytes = HELLO, *, closes: bool = False) -> None:
        self.answer, self.closes = answer, closes
        self.connections = 0
        self.written = 0
        self.gone = asyncio.Event()
        self.url = ""
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                for start in range(0, len(self.answer), 1 << 16):
                    writer.write(piece := self.answer[start : start + (1 << 16)])
                    await writer.drain()
                    self.written += len(piece)
                if self.closes:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.gone.set()
            writer.close()

    def close(self) -> None:
        assert self._server is not None
        self._server.close()


def served(
    scenario: Callable[[Server, Transport], Awaitable[T]],
    answer: bytes = HELLO,
    *,
    closes: bool = False,
    patience: float = 5.0,
) -> T:
    async def whole() -> T:
        server, transport = Server(answer, closes=closes), Transport(patience=patience)
        await server.start()
        try:
            async with asyncio.timeout(20):
                return await scenario(server, transport)
        finally:
            await transport.aclose()
            server.close()

    return asyncio.run(whole())


async def ask(server: Server, transport: Transport) -> httpx.Response:
    request = httpx.Request(
        "POST",
        server.url,
        headers={"host": "gateway", "content-length": "0"},
        stream=httpx.ByteStream(b""),
        extensions={"timeout": {"connect": 5.0}},
    )
    return await transport.handle_async_request(request)


async def whole(server: Server, transport: Transport) -> bytes:
    response = await ask(server, transport)
    try:
        return b"".join([piece async for piece in response.aiter_raw()])
    finally:
        await response.aclose()


async def once_and_again(server: Server, transport: Transport) -> int:
    """The number of connections that two requests took."""
    for _ in range(2):
        await whole(server, transport)
    return server.connections


def test_an_answer_has_its_status_headers_and_body() -> None:
    async def scenario(server: Server, transport: Transport) -> None:
        response = await ask(server, transport)
        assert response.status_code == 418
        assert response.headers["X-Kind"] == "tea"
        assert [piece async for piece in response.aiter_raw()] == [b"hello"]
        await response.aclose()

    served(scenario, b"HTTP/1.1 418 Tea\r\nx-kind: tea\r\ncontent-length: 5\r\n\r\nhello")


def test_chunks_that_come_together_are_one_piece() -> None:
    async def scenario(server: Server, transport: Transport) -> list[bytes]:
        response = await ask(server, transport)
        await asyncio.sleep(0.05)  # until all of it has come
        pieces = [piece async for piece in response.aiter_raw()]
        await response.aclose()
        return pieces

    chunks = b"1\r\na\r\n" * (MOST_CHUNKS + 1) + b"0\r\n\r\n"
    assert served(scenario, CHUNKED + chunks) == [b"a" * MOST_CHUNKS, b"a"]


def test_an_answer_that_was_only_announced_is_waited_for() -> None:
    assert served(whole, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nx: y\r\n\r\n" + HELLO)


def test_a_body_of_no_known_length_ends_with_its_connection() -> None:
    assert served(whole, OK + b"\r\nhello", closes=True) == b"hello"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", httpx.ReadError),
        (OK, httpx.ReadError),
        (OK + b"content-length: 9\r\n\r\nhello", httpx.ReadError),
        (CHUNKED + b"5\r\nhello\r\n", httpx.ReadError),
        (CHUNKED + b"word\r\nhello\r\n", httpx.RemoteProtocolError),
        (b"SSH-2.0-OpenSSH_9.6\r\n", httpx.RemoteProtocolError),
        (b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
         httpx.RemoteProtocolError),
        (OK + b"x: " + b"y" * LARGEST_HEAD * 2, httpx.RemoteProtocolError),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_whole_is_an_error(
    answer: bytes, error: type[httpx.TransportError]
) -> None:
    with pytest.raises(error):
        served(whole, answer, closes=True)


def test_a_connection_is_used_again() -> None:
    assert served(once_and_again) == 1


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"connection: close\r\ncontent-length: 5\r\n\r\nhello",
        HELLO + HELLO,  # which of them would answer the next request?
        HELLO + b"more",
    ],
)
def test_a_connection_of_which_nobody_knows_what_comes_next_is_not(answer: bytes) -> None:
    assert served(once_and_again, answer) == 2


def test_a_connection_that_the_server_closed_is_not() -> None:
    async def scenario(server: Server, transport: Transport) -> int:
        await whole(server, transport)
        await asyncio.sleep(0.05)
        await whole(server, transport)
        return server.connections

    assert served(scenario, closes=True) == 2


def test_an_idle_connection_is_closed_in_time() -> None:
    async def scenario(server: Server, transport: Transport) -> None:
        await whole(server, transport)
        await server.gone.wait()

    served(scenario, patience=0.05)


def test_an_answer_that_is_closed_twice_leaves_the_next_one_its_connection() -> None:
    async def scenario(server: Server, transport: Transport) -> tuple[bytes, bytes, int]:
        first = (await ask(server, transport)).stream
        assert isinstance(first, httpx.AsyncByteStream)
        before = b"".join([piece async for piece in first])
        await first.aclose()
        second = (await ask(server, transport)).stream
        await first.aclose()
        third = await whole(server, transport)  # must not come on the connection of the second
        assert isinstance(second, httpx.AsyncByteStream)
        after = b"".join([piece async for piece in second])
        return before + after, third, server.connections

    assert served(scenario) == (b"hellohello", b"hello", 2)


def test_what_is_not_read_to_its_end_is_closed() -> None:
    async def scenario(server: Server, transport: Transport) -> None:
        response = await ask(server, transport)
        await response.aclose()
        await response.aclose()
        await server.gone.wait()

    served(scenario, CHUNKED + b"5\r\nhello\r\n")


def test_a_request_that_is_cancelled_is_closed() -> None:
    async def scenario(server: Server, transport: Transport) -> None:
        asking = asyncio.create_task(ask(server, transport))
        await asyncio.sleep(0.05)
        assert server.connections
        asking.cancel()
        await server.gone.wait()

    served(scenario, OK)


def test_a_server_is_held_back_by_a_slow_reader() -> None:
    async def scenario(server: Server, transport: Transport) -> tuple[int, int]:
        response = await ask(server, transport)
        written = -1
        while written != server.written:
            written = server.written
            await asyncio.sleep(0.2)
        read = 0
        async for piece in response.aiter_raw():
            read += len(piece)
        await response.aclose()
        return written, read

    size = READ_AHEAD * 1000
    written, read = served(scenario, OK + b"content-length: %d\r\n\r\n" % size + b"x" * size)
    assert written < size / 2
    assert read == size
