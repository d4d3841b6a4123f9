"""The MCP servers that operators have set up, as far as the caller's project may use them. An
extension of the API: clients find out what ``server_label`` may be."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase
from ninja import Router

from apps.api.auth import caller
from apps.api.engine.failures import database_needed
from apps.api.errors import InvalidRequest, NotFound, Unavailable
from apps.api.protocol.types import JSONObject
from apps.api.replies import json_reply
from apps.store.db import in_thread
from apps.store.mcp_listing import ShownServer, shown_servers
from apps.store.mcp_servers import ListedTool, ServerSpec
from apps.tools.base import ToolUnavailable
from apps.tools.mcp.listing import DisabledServer, UnknownServer, tools_for

router = Router(tags=["mcp"])


@router.get("/mcp/servers", operation_id="listMcpServers")
async def list_servers(request: HttpRequest) -> HttpResponseBase:
    """The servers by label, with their state. Asks none of them."""
    with database_needed():
        servers = await in_thread(shown_servers, caller(request).project_id)
    return json_reply({"object": "list", "data": list(map(_server, servers))})


@router.get("/mcp/servers/{server_label}/tools", operation_id="listMcpServerTools")
async def list_tools(request: HttpRequest, server_label: str) -> HttpResponseBase:
    """The tools that models may call, as the server listed them last."""
    try:
        with database_needed():
            found = await tools_for(server_label, caller(request).project_id)
    except UnknownServer as exc:
        raise NotFound(
            f"There is no MCP server {server_label!r}.", code="mcp_server_not_found"
        ) from exc
    except DisabledServer as exc:
        raise InvalidRequest(
            f"The MCP server {server_label!r} is disabled.", code="mcp_server_disabled", status=409
        ) from exc
    except ToolUnavailable as exc:
        raise Unavailable(str(exc), code="mcp_server_unavailable") from exc
    return json_reply(
        {
            "object": "list",
            "server_label": server_label,
            "listed_at": int(found.listed_at.timestamp()),
            "data": [_tool(found.spec, tool) for tool in found.tools],
        }
    )


def _server(server: ShownServer) -> JSONObject:
    state = "disabled" if not server.enabled else "unavailable" if server.is_away else "available"
    return {
        "object": "mcp.server",
        "server_label": server.label,
        "server_description": server.description or None,
        "status": state,
        "require_approval": server.approval,
        "tool_count": server.tool_count,
    }


def _tool(spec: ServerSpec, tool: ListedTool) -> JSONObject:
    return {
        "object": "mcp.tool",
        "name": tool.name,
        "title": tool.title or None,
        "description": tool.description or None,
        "input_schema": tool.input_schema,
        "annotations": tool.annotations or None,
        "require_approval": "always" if spec.needs_approval(tool.name) else "never",
    }
