"""A TCP proxy for tests: the network between two programs, which can be cut and mended."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

T = TypeVar("T")

PATIENCE = 5.0
PIECE = 1 << 16


class TcpProxy:
    """A context manager; ``url`` is the given one with the proxy in the place of its server."""

    def __init__(self, url: str) -> None:
        self.parts = urlsplit(url)
        self.received = 0  # bytes that came from the server
        self._losing = b""
        self._port = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="tcp-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.mend()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.cut()
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)

    @property
    def url(self) -> str:
        user, at, _ = self.parts.netloc.rpartition("@")
        return urlunsplit(self.parts._replace(netloc=f"{user}{at}127.0.0.1:{self._port}"))

    def cut(self) -> None:
        """Reset every connection and refuse new ones."""
        self._do(self._cut())

    def mend(self) -> None:
        """Accept connections again, under the same address."""
        self._do(self._listen())

    def lose_the_answer_to(self, words: bytes) -> None:
        """The next request with these bytes reaches the server, and its answer nobody: the
        connection breaks."""
        self._losing = words

    @property
    def lost(self) -> bool:
        """Whether that has happened."""
        return not self._losing

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE)

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _cut(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # lets the transports close their sockets

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError):
            async with self._kept(writer):
                answers, server = await asyncio.open_connection(
                    self.parts.hostname, self.parts.port
                )
                async with self._kept(server):
                    deaf = asyncio.Event()
                    await asyncio.gather(
                        self._pass_on(reader, server, deaf), self._answer(answers, writer, deaf)
                    )

    @contextlib.asynccontextmanager
    async def _kept(self, writer: asyncio.StreamWriter) -> Any:
        self._writers.add(writer)
        try:
            yield
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _pass_on(
        self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, deaf: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(PIECE):
                if self._losing and self._losing in data:
                    self._losing = b""
                    deaf.set()
                server.write(data)
                await server.drain()
        server.close()

    async def _answer(
        self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter, deaf: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while (data := await answers.read(PIECE)) and not deaf.is_set():
                self.received += len(data)
                writer.write(data)
                await writer.drain()
        writer.close()
