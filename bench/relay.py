"""The bare relay: the gateway's server and its way to the upstream, and nothing in between.

Bytes are passed on as they come. What this costs is what anything costs on this server and this
HTTP client; what the gateway costs above it is the gateway's own.
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "responses_gateway.settings")

import django

from responses_gateway.server import GatewayServer  # first: it chooses the event loop

django.setup()

from apps.api.upstream import client  # noqa: E402 - after Django is set up

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Process:
    """There are no runs and no leases."""

    draining = False
    active = 0

    async def start(self) -> None: ...

    async def stop(self) -> None:
        await client.close_http_client()

    def end_all(self) -> None: ...


async def relay(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """The application: one request, there and back."""
    body = b""
    while (message := await receive()).get("more_body"):
        body += message["body"]
    if scope["method"] == "GET":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    path = scope["path"].removeprefix("/v1")
    response = await client.send("POST", path, content=body + message["body"])
    names = ("content-type", "content-length")
    headers = [(n.encode(), response.headers[n].encode()) for n in names if n in response.headers]
    await send({
        "type": "http.response.start", "status": response.status_code, "headers": headers
    })  # fmt: skip
    async for piece in response.aiter_raw():
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await response.aclose()
    await send({"type": "http.response.body", "body": b""})


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.relay", description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="number of a listening socket")
    listening = socket.socket(fileno=parser.parse_args().fd)
    server = GatewayServer(
        relay,
        sockets=[listening],
        process=Process(),
        max_body_bytes=1 << 20,
        request_timeout=60.0,
        drain_timeout=1.0,
    )
    gc.collect()
    gc.freeze()  # as the gateway does
    server.run()


if __name__ == "__main__":
    main()
