"""A program: the gateway's server around a tiny ASGI application, for the tests of the server.

It writes a line to standard output for each thing that happens, which the tests wait for.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
from typing import Any

from responses_gateway import arrival
from responses_gateway.server import GatewayServer


def say(event: str) -> None:
    print(event, flush=True)  # noqa: T201 - the tests read it


class Process:
    """Stands in for the gateway's runs: a background run per ``/background`` request."""

    draining = False

    def __init__(self) -> None:
        self.ending = asyncio.Event()
        self.release = asyncio.Event()
        self.active = 0

    async def start(self) -> None:
        say("process started")

    async def stop(self) -> None:
        say("process stopped")

    def end_all(self) -> None:
        say("end_all")
        self.ending.set()
        self.active = 0


process = Process()
sent = 0


class Exchange:
    """One request and what may be done with it."""

    def __init__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        self.scope, self.receive, self.send = scope, receive, send

    async def read(self) -> bytes:
        body, more = b"", True
        while more:
            message = await self.receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        return body

    async def start(self, status: int = 200) -> None:
        headers = [(b"content-type", b"text/plain")]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes, *, more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": data, "more_body": more})

    async def answer(self, data: bytes, *, status: int = 200) -> None:
        await self.start(status)
        await self.write(data, more=False)


async def large(exchange: Exchange) -> None:
    await exchange.answer(b"x" * 8_000_000)
    say("large done")


async def stream(exchange: Exchange) -> None:
    """One event, then a last one on /release or when all runs are ended."""
    await exchange.start()
    await exchange.write(b"first\n")
    say("stream waits")
    waits = [asyncio.create_task(event.wait()) for event in (process.release, process.ending)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in waits:
        task.cancel()
    await exchange.write(b"failed\n" if process.ending.is_set() else b"done\n", more=False)


async def stuck(exchange: Exchange) -> None:
    """Reacts to nothing but cancellation."""
    await exchange.start()
    await exchange.write(b"first\n")
    say("stuck waits")
    try:
        await asyncio.Event().wait()
    finally:
        say("stuck cancelled")


async def flood(exchange: Exchange) -> None:
    """As much as the client takes, until it leaves."""
    global sent
    await exchange.start()
    gone = asyncio.ensure_future(exchange.receive())
    while not gone.done() and sent < 2_000_000_000:
        await exchange.write(b"x" * 65536)
        sent += 65536
    say(f"flood ends {(await gone)['type']}")


async def broken(exchange: Exchange) -> None:
    await exchange.start()
    await exchange.write(b"first\n")
    raise RuntimeError("broken on purpose")


async def crash(exchange: Exchange) -> None:
    raise RuntimeError("crashed on purpose")


async def background(exchange: Exchange) -> None:
    process.active += 1
    await exchange.answer(b"running")


async def echo(exchange: Exchange) -> None:
    """The request as the application has it."""
    scope = exchange.scope
    told = {name: scope[name] for name in ("http_version", "method", "path", "client", "server")}
    told["query"] = scope["query_string"].decode("latin-1")
    told["headers"] = [[part.decode("latin-1") for part in header] for header in scope["headers"]]
    await exchange.answer(json.dumps(told).encode())


async def sized(exchange: Exchange) -> None:
    """An answer whose length is known."""
    headers = [(b"content-length", b"5")]
    await exchange.send({"type": "http.response.start", "status": 200, "headers": headers})
    await exchange.write(b"sized", more=False)


async def empty(exchange: Exchange) -> None:
    await exchange.answer(b"", status=204)


async def split(exchange: Exchange) -> None:
    """A header that would be two."""
    headers = [(b"x-note", b"a\r\nx-more: b")]
    await exchange.send({"type": "http.response.start", "status": 200, "headers": headers})


async def twice(exchange: Exchange) -> None:
    """Starts an answer that has begun."""
    await exchange.start()
    await exchange.write(b"first\n")
    await exchange.start()


async def progress(exchange: Exchange) -> None:
    await exchange.answer(json.dumps({"sent": sent}).encode())


PATHS = {
    "/large": large,
    "/stream": stream,
    "/stuck": stuck,
    "/flood": flood,
    "/broken": broken,
    "/crash": crash,
    "/background": background,
    "/echo": echo,
    "/empty": empty,
    "/sized": sized,
    "/split": split,
    "/twice": twice,
    "/progress": progress,
}


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    exchange = Exchange(scope, receive, send)
    body = await exchange.read()
    if scope["path"] == "/release":
        process.release.set()
    if process.draining:
        await exchange.answer(b"draining", status=503)
    elif handler := PATHS.get(scope["path"]):
        await handler(exchange)
    else:
        await exchange.answer(str(len(body)).encode())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--drain-timeout", type=float, default=20)
    parser.add_argument("--max-body-bytes", type=int, default=1_000_000)
    parser.add_argument("--request-timeout", type=float, default=60)
    parser.add_argument("--linger", type=float, default=arrival.LINGER)
    args = parser.parse_args()
    arrival.LINGER = args.linger
    server = GatewayServer(
        application,
        sockets=[socket.socket(fileno=args.fd)],
        process=process,
        max_body_bytes=args.max_body_bytes,
        request_timeout=args.request_timeout,
        drain_timeout=args.drain_timeout,
    )
    server.run()
    return server.exit_code


if __name__ == "__main__":
    raise SystemExit(main())
