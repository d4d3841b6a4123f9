"""What a call of an MCP tool costs through the gateway's runtime, beside a client of ``mcp`` that
calls the server itself. A program of its own, since it needs Django; the server is another one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, NamedTuple

CALLS = 300
METHOD = re.compile(rb'"method": ?"([^"]+)"')
OPENS = ("server/discover", "initialize")
"""The first thing that a client asks, in newer versions of the protocol and in older ones."""


@dataclass(frozen=True, slots=True)
class McpFigures:
    """Seconds of one call, medians; ``more`` is the median of the differences of neighbours, ``cpu``
    that of the CPU's time. ``opened`` counts the sessions for all of them."""

    direct: float
    through: float
    more: float
    cpu: float
    calls: int
    opened: int


def serve(descriptor: int) -> None:
    """The server: two tools, ``/health``, and ``/seen``, which counts requests by their method."""
    import uvicorn
    from mcp.server import MCPServer
    from starlette.responses import JSONResponse, Response

    server = MCPServer("bench", log_level="CRITICAL")

    @server.tool()
    def echo(text: str) -> str:
        """Says it again."""
        return text

    @server.tool()
    async def wait(text: str) -> str:
        """Says it again, a moment later."""
        await asyncio.sleep(0.1)
        return text

    @server.custom_route("/health", methods=["GET"])
    async def health(request: Any) -> Response:
        return Response()

    seen: Counter[str] = Counter()

    @server.custom_route("/seen", methods=["GET"])
    async def tell(request: Any) -> JSONResponse:
        return JSONResponse(seen)

    app = server.streamable_http_app()

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        async def noting() -> Any:
            message = await receive()
            if found := METHOD.search(message.get("body", b"")):
                seen[found[1].decode()] += 1
            return message

        await app(scope, noting, send)

    # uvicorn takes a number for a Unix socket: its answers would wait for acknowledgements.
    listening = socket.socket(fileno=descriptor)
    config = uvicorn.Config(counting, log_level="critical")
    uvicorn.Server(config).run([listening])


async def measure(url: str) -> McpFigures:
    """Both ways in turn, call by call. Each call through the gateway is a request of its own."""
    from mcp import Client

    from apps.store.models import Project
    from apps.tools.base import RunInfo, ToolCall, ToolOutcome
    from apps.tools.mcp.runtime import McpRuntime

    runtime = McpRuntime()
    project = await asyncio.to_thread(lambda: Project.objects.values_list("pk", flat=True)[0])
    run = RunInfo(
        response_id="resp_1",
        root_id="resp_1",
        project_id=project,
        request_id="req_1",
        deadline=asyncio.get_running_loop().time() + 600,
    )

    async def through() -> None:
        wanted = ToolCall(
            id="mcp_1", name="echo", arguments={"text": "hi"}, written='{"text": "hi"}'
        )
        async with (
            runtime.open({"type": "mcp", "server_label": "bench"}, run) as session,
            aclosing(session.run(wanted)) as steps,
        ):
            found = [step async for step in steps]
        assert isinstance(found[-1], ToolOutcome), "no outcome"
        assert found[-1].failure is None, found[-1].failure

    async with Client(url) as client:

        async def direct() -> None:
            await client.call_tool("echo", {"text": "hi"})

        took = [(await _timed(direct), await _timed(through)) for _ in range(CALLS)]
    opened = runtime.pool.opened
    await runtime.pool.close()
    return McpFigures(
        direct=median(plain.seconds for plain, _ in took),
        through=median(ours.seconds for _, ours in took),
        more=median(ours.seconds - plain.seconds for plain, ours in took),
        cpu=median(ours.cpu - plain.cpu for plain, ours in took),
        calls=CALLS,
        opened=opened,
    )


class Took(NamedTuple):
    seconds: float
    cpu: float


async def _timed(call: Callable[[], Awaitable[None]]) -> Took:
    began, cpu = time.perf_counter(), time.process_time()
    await call()
    return Took(time.perf_counter() - began, time.process_time() - cpu)


def main() -> None:
    """``--fd N`` is the server, a URL what measures it."""
    if sys.argv[1] == "--fd":
        serve(int(sys.argv[2]))
        return
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "responses_gateway.settings")
    django.setup()
    logging.disable()
    from apps.store.models import McpServer

    McpServer.objects.create(label="bench", url=sys.argv[1], approval="never")
    sys.stdout.write(json.dumps(asdict(asyncio.run(measure(sys.argv[1])))))


if __name__ == "__main__":
    main()
