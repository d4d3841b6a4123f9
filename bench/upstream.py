"""The scripted upstream: chat completions at the least cost per token, so that what is measured is
what stands in front of it. Each token is a write of its own, and other connections get their turn
in between, as with vLLM, whose steps give one token to each running request.

It trusts its clients: requests are complete, well-formed and have a content-length.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import time
from dataclasses import asdict, dataclass
from typing import Any, cast

import orjson

from bench.chunks import Stream, completion
from bench.loop import run
from bench.script import Script

HIGH_WATER = 256 * 1024


@dataclass(slots=True)
class Stats:
    """What has happened so far; served at ``/stats``."""

    accepted: int = 0  #: connections
    started: int = 0
    finished: int = 0
    aborted: int = 0  #: streams whose reader left
    aborted_at: float = 0.0  #: when the last one did, on the machine's monotonic clock
    tokens: int = 0
    pauses: int = 0  #: how often a reader was too slow
    paused: int = 0  #: readers that are too slow now


stats = Stats()


class Answer:
    """One stream under way: sends a token per turn of the loop, or per delay."""

    def __init__(self, connection: Connection, stream: Stream, delay: float) -> None:
        self._connection, self._stream, self._delay = connection, stream, delay
        self._position = 0
        self._loop = asyncio.get_running_loop()
        connection.write(stream.opening())
        self._next: asyncio.Handle | None = self._loop.call_soon(self._step)

    def _step(self) -> None:
        if self._connection.paused:
            self._next = None
            return
        if self._position == len(self._stream):
            self._connection.write(self._stream.closing())
            stats.finished += 1
            self._connection.answered()
            return
        self._connection.write(self._stream.token(self._position))
        self._position += 1
        stats.tokens += 1
        self._again()

    def _again(self) -> None:
        if self._delay:
            self._next = self._loop.call_later(self._delay, self._step)
        else:
            self._next = self._loop.call_soon(self._step)

    def go_on(self) -> None:
        if self._next is None:
            self._again()

    def abort(self) -> None:
        if self._next is not None:
            self._next.cancel()
        stats.aborted += 1
        stats.aborted_at = time.monotonic()


class Connection(asyncio.Protocol):
    """One client; its requests are answered one after another."""

    def __init__(self) -> None:
        self.paused = False
        self._received = b""
        self._answer: Answer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        writer = cast(asyncio.Transport, transport)  # which uvloop's is not by inheritance
        writer.set_write_buffer_limits(high=HIGH_WATER)
        self.write = writer.write
        stats.accepted += 1

    def connection_lost(self, exc: Exception | None) -> None:
        if self.paused:
            stats.paused -= 1
        if self._answer is not None:
            self._answer.abort()

    def pause_writing(self) -> None:
        self.paused = True
        stats.pauses += 1
        stats.paused += 1

    def resume_writing(self) -> None:
        self.paused = False
        stats.paused -= 1
        if self._answer is not None:
            self._answer.go_on()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head_ends = self._received.find(b"\r\n\r\n")
        if head_ends < 0:
            return
        head, body_begins = self._received[:head_ends], head_ends + 4
        ends = body_begins + _content_length(head)
        if len(self._received) < ends:
            return
        body, self._received = self._received[body_begins:ends], self._received[ends:]
        self._handle(head.split(b" ", 2)[1], body)

    def answered(self) -> None:
        self._answer = None

    def _handle(self, path: bytes, body: bytes) -> None:
        if path == b"/v1/chat/completions":
            self._complete(orjson.loads(body))
        elif path == b"/stats":
            self._reply(orjson.dumps(asdict(stats)))
        elif path == b"/v1/models":
            self._reply(b'{"object":"list","data":[]}')
        elif path == b"/health":
            self._reply(b"")
        else:
            self._reply(b"{}", status=b"404 Not Found")

    def _complete(self, request: dict[str, Any]) -> None:
        stats.started += 1
        model = request["model"]
        script = Script.parse(model).next(request["messages"])
        if request.get("stream"):
            self._answer = Answer(self, Stream(script, model, request), script.delay / 1000)
        else:
            self._reply(completion(script, model, request))
            stats.finished += 1

    def _reply(self, content: bytes, *, status: bytes = b"200 OK") -> None:
        self.write(
            b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (status, len(content), content)
        )


def _content_length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.split(b"\r\n", 1)[0] or 0)


async def serve(listening: socket.socket) -> None:
    """Until a signal."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, sock=listening, backlog=1024)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.upstream", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--fd", type=int, help="number of an inherited listening socket")
    args = parser.parse_args()
    if args.fd is None:
        listening = socket.create_server((args.host, args.port), backlog=1024)
    else:
        listening = socket.socket(fileno=args.fd)
    run(serve(listening))


if __name__ == "__main__":
    main()
