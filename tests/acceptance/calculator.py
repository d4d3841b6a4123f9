"""An MCP server to calculate with, and how requests declare it."""

from __future__ import annotations

from typing import Any

from mcp.server import MCPServer
from mcp.types import ImageContent, TextContent

from tests.tools.mcp.servers import OnHttp

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def calculating() -> MCPServer:
    server = MCPServer("calculator", log_level="CRITICAL")

    @server.tool()
    def add(a: int, b: int) -> str:
        """Adds two numbers."""
        return str(a + b)

    @server.tool(name="files.read/all")
    def read() -> list[TextContent | ImageContent]:
        """Reads everything."""
        picture = ImageContent(type="image", data=PIXEL, mime_type="image/png")
        return [TextContent(type="text", text="one"), picture]

    @server.tool()
    def fail() -> str:
        """Fails."""
        raise ValueError("no luck")

    return server


def declare(server: OnHttp, **more: Any) -> Any:
    """A server that the request brings, and whose calls need no approval unless ``more`` says so."""
    tool = {"type": "mcp", "server_label": "calc", "server_url": server.url()}
    return tool | {"require_approval": "never"} | more
