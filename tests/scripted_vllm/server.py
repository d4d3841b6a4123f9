"""The HTTP side: bare sockets in a thread of its own, so that every byte and cut is decided here.

HTTP/1.1 with keep-alive, as much as a client of vLLM uses; not a general server.
"""

import asyncio
import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from http.client import responses as phrases
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from .frames import Completion, encode
from .replies import Json, Pause, Reply, body, text

EVENT_STREAM: Final = "text/event-stream; charset=utf-8"
JSON: Final = "application/json"
CHAT: Final = "/v1/chat/completions"
PATIENCE: Final = 5.0
_POLL: Final = 0.002


@dataclass(slots=True)
class Request:
    """What a client sent. One of the events is set when the server has done with it."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    body: Any = None
    finished: threading.Event = field(default_factory=threading.Event)
    aborted: threading.Event = field(default_factory=threading.Event)  # the client left early


# A reply, or what makes one when the request is there.
Script = Reply | Callable[[Request], Reply]


class _Cut(Exception):
    """The connection ends here."""


class _Reader(asyncio.StreamReader):
    """Tells when the client has gone, also while nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self.gone = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.gone.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.gone.set()


class ScriptedVLLM:
    """A context manager; `url` is where it listens, without `/v1`."""

    def __init__(self, *models: str) -> None:
        self.models = list(models or ("tiny",))
        self.max_model_len = 2048
        self.default: Script = text("Hello", "!")  # when nothing is queued
        self.routes: dict[str, Script] = {}  # standing answers by path, before everything else
        self.requests: list[Request] = []
        self.connections = 0
        self.open_connections = 0
        self.url = ""
        self._queue: deque[Script] = deque()
        self._changed = threading.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._problems: list[BaseException] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="scripted-vllm", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        if self._problems and exc is None:
            raise self._problems[0]

    # For tests

    def script(self, *replies: Script) -> None:
        """Queue replies for the requests that generate; they are taken in order."""
        self._queue.extend(replies)

    def reset(self) -> None:
        """Forget replies, requests and standing answers: the next test begins anew."""
        self._queue.clear()
        self.routes.clear()
        self.requests.clear()
        self.default = text("Hello", "!")

    def forget(self) -> None:
        """Drop the replies that nobody asked for."""
        self._queue.clear()

    @property
    def unused(self) -> int:
        """Replies that nobody asked for yet."""
        return len(self._queue)

    @property
    def chats(self) -> list[Request]:
        """The chat requests alone."""
        return [request for request in self.requests if request.path == CHAT]

    def wait_for_requests(self, number: int, timeout: float = PATIENCE) -> list[Request]:
        """All requests, as soon as there are `number` of them."""
        return self.wait_until(lambda: len(self.requests) >= number, timeout)

    def wait_until(self, condition: Callable[[], bool], timeout: float = PATIENCE) -> list[Request]:
        """All requests, as soon as a condition on this server holds."""
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise TimeoutError(f"still not so after {len(self.requests)} requests")
            return list(self.requests)

    # Thread and connections

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    async def _start(self) -> None:
        self._server = await self._loop.create_server(self._protocol, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"

    async def _stop(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # lets the transports close their sockets

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        reader = _Reader()

        def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = self._loop.create_task(self._connection(reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return asyncio.StreamReaderProtocol(reader, connected)

    def _change(self, *, opened: int = 0, request: Request | None = None) -> None:
        with self._changed:
            self.connections += max(opened, 0)
            self.open_connections += opened
            if request is not None:
                self.requests.append(request)
            self._changed.notify_all()

    async def _connection(self, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        self._change(opened=1)
        try:
            while (request := await _read(reader)) is not None:
                self._change(request=request)
                await self._serve(request, reader, writer)
        except (_Cut, ConnectionError):
            pass
        except Exception as exc:
            self._problems.append(exc)
        finally:
            writer.close()
            self._change(opened=-1)

    async def _serve(self, request: Request, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        """Answer, unless the client leaves first."""
        script = self._scripted(request)
        reply = script(request) if callable(script) else script
        answer = self._loop.create_task(_Answer(request, reply, writer).send())
        leaving = self._loop.create_task(reader.gone.wait())
        try:
            await asyncio.wait((answer, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                request.aborted.set()
                raise _Cut
            answer.result()
        except ConnectionError:
            request.aborted.set()
            raise
        finally:
            answer.cancel()
            leaving.cancel()
            if not request.aborted.is_set():
                request.finished.set()
            self._change()

    def _scripted(self, request: Request) -> Script:
        if (standing := self.routes.get(request.path)) is not None:
            return standing
        match request.method, request.path:
            case "GET", "/health":
                return body(b"")
            case "GET", "/version":
                return body({"version": "0.32.0"})
            case "GET", "/v1/models":
                return body({"object": "list", "data": [self._model(id_) for id_ in self.models]})
            case "POST", "/tokenize":
                tokens = list(range(len(request.raw.split())))
                counted = {"count": len(tokens), "max_model_len": self.max_model_len}
                return body({**counted, "tokens": tokens, "token_strs": None})
            case "POST", _:
                return self._queue.popleft() if self._queue else self.default
        return body({"detail": "Not Found"}, status=404)

    def _model(self, name: str) -> Json:
        return {
            "id": name,
            "object": "model",
            "created": int(time.time()),
            "owned_by": "vllm",
            "root": name,
            "parent": None,
            "max_model_len": self.max_model_len,
            "permission": [],
        }


@dataclass(frozen=True, slots=True)
class _Answer:
    """One reply on its way to one client."""

    request: Request
    reply: Reply
    writer: asyncio.StreamWriter

    async def send(self) -> None:
        options = self.reply.options
        if (event := options.get("hang_before_headers")) is not None:
            await _set(event)
        if (data := options.get("garbage")) is not None:
            await self._write(data)
            raise _Cut
        if self._streamed():
            await self._send_stream()
        else:
            await self._send_body()

    def _streamed(self) -> bool:
        options = self.reply.options
        if "body" in options:
            return False
        if options.get("bare"):
            return "event-stream" in options.get("content_type", EVENT_STREAM)
        return isinstance(self.request.body, dict) and bool(self.request.body.get("stream"))

    async def _send_stream(self) -> None:
        options = self.reply.options
        status = options.get("status", 200)
        await self._head(status, EVENT_STREAM, "transfer-encoding: chunked")
        steps = Completion(reply=self.reply, request=self._asked()).stream()
        sent = 0
        for step in self._chunks(steps):
            if isinstance(step, Pause):
                await _set(step.event)
                continue
            if sent == options.get("cut_after"):
                self._cut()
            if sent and (delay := options.get("delay")):
                await asyncio.sleep(delay)
            await self._write(b"%x\r\n%b\r\n" % (len(step), step))
            sent += 1
        await self._write(b"0\r\n\r\n")

    def _chunks(self, steps: list[bytes | Pause]) -> Iterator[bytes | Pause]:
        options = self.reply.options
        if not (size := options.get("chunk_bytes")) and not options.get("one_write"):
            yield from steps
            return
        whole = b"".join(step for step in steps if isinstance(step, bytes))
        size = size or len(whole)
        yield from (whole[start : start + size] for start in range(0, len(whole), size))

    async def _send_body(self) -> None:
        options = self.reply.options
        for part in self.reply.parts:
            if isinstance(part, Pause):
                await _set(part.event)
        status = options.get("status", 200)
        content = options.get("body")
        if (failed := options.get("error_frame")) is not None:
            content, status = failed, options.get("status", failed["error"]["code"])
        if content is None:
            content = Completion(reply=self.reply, request=self._asked()).body()
        data = content if isinstance(content, bytes) else encode(content)
        await self._head(status, JSON, f"content-length: {len(data)}")
        if "cut_after" in options:
            await self._write(data[: len(data) // 2])
            self._cut()
        await self._write(data)

    def _asked(self) -> Json:
        return self.request.body if isinstance(self.request.body, dict) else {}

    async def _head(self, status: int, content_type: str, framing: str) -> None:
        options = self.reply.options
        content_type = options.get("content_type", content_type)
        lines = [
            f"HTTP/1.1 {status} {phrases.get(status, 'Unknown')}",
            "server: uvicorn",
            f"content-type: {content_type}",
            framing,
            *(f"{name}: {value}" for name, value in options.get("headers", {}).items()),
        ]
        await self._write("\r\n".join([*lines, "", ""]).encode())

    def _cut(self) -> NoReturn:
        if self.reply.options.get("reset"):
            linger = struct.pack("ii", 1, 0)  # closing sends RST instead of FIN
            peer = self.writer.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        raise _Cut

    async def _write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()


async def _set(event: threading.Event) -> None:
    # Polled, since a thread that waits could not be told to stop.
    while not event.is_set():  # noqa: ASYNC110
        await asyncio.sleep(_POLL)


async def _read(reader: asyncio.StreamReader) -> Request | None:
    """The next request on a connection, or None when the client has closed it."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.rstrip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    if headers.get("transfer-encoding") == "chunked":
        raw = b"".join([chunk async for chunk in _chunked(reader)])
    else:
        raw = await reader.readexactly(int(headers.get("content-length", 0)))
    request = Request(method, target.partition("?")[0], headers, raw)
    if raw and "json" in headers.get("content-type", ""):
        request.body = json.loads(raw)
    return request


async def _chunked(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
