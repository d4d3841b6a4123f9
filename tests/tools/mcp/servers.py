"""Real MCP servers for tests. ``python -m tests.tools.mcp.servers`` is one on standard input: no
Django here."""

from __future__ import annotations

import os
import socket
import sys
import threading
from typing import Any, Self

import uvicorn
from mcp.server import MCPServer
from mcp.types import ToolAnnotations

from tests.programs import ROOT, eventually

PROGRAM = {"command": sys.executable, "args": ("-m", "tests.tools.mcp.servers"), "cwd": str(ROOT)}


def toys() -> MCPServer:
    server = MCPServer("toys", version="1.2", log_level="CRITICAL")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def look(q: str) -> str:
        """Looks for a toy."""
        return f"a {q}"

    @server.tool()
    def environment() -> list[str]:
        """The names of all variables of this program's environment."""
        return sorted(os.environ)

    return server


class OnHttp:
    """An ASGI application in a thread. ``headers`` are those of each request."""

    def __init__(self, app: Any, *, token: str = "") -> None:
        self._app, self._token = app, token
        self.headers: list[dict[str, str]] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        config = uvicorn.Config(self, log_config=None, lifespan="auto", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._listening],))

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(lambda: self._server.started, what="the MCP server")
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._listening.close()

    def url(self, path: str = "/mcp") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            self.headers.append(headers)
            if self._token and headers.get("authorization") != f"Bearer {self._token}":
                await answer(send, 401, b"the secret of the tester")
                return
        await self._app(scope, receive, send)


async def answer(send: Any, status: int, body: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    toys().run(transport="stdio")
