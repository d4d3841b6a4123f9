"""The tools of a server as a project is shown them, without a request that uses them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from apps.store import mcp_servers
from apps.store.db import in_thread, in_writer
from apps.store.mcp_servers import ListedTool, ServerHealth, ServerSpec
from apps.store.secrets import SecretUnreadable
from apps.tools.base import ToolUnavailable
from apps.tools.mcp.asking import ask

NOT_AGAIN = timedelta(seconds=10)
"""How long a server that has just failed is not asked again for a list."""
AWAY = "The MCP server {!r} cannot be reached at the moment."


class UnknownServer(Exception):
    """There is none that the project may use."""


class DisabledServer(Exception):
    """The operator has switched it off."""


@dataclass(frozen=True, slots=True)
class ToolList:
    """The tools that models may call, in the server's order, and when it listed them."""

    spec: ServerSpec
    tools: list[ListedTool]
    listed_at: datetime


async def tools_for(label: str, project_id: int) -> ToolList:
    """What the server listed last; a server that was never asked is asked now. Raises UnknownServer,
    DisabledServer, ToolUnavailable and StoreUnavailable."""
    try:
        spec = await in_thread(mcp_servers.server_for, label, project_id)
    except SecretUnreadable as exc:
        raise ToolUnavailable(
            f"The MCP server {label!r} is not set up completely: its operator has to enter its "
            "secrets again."
        ) from exc
    if spec is None:
        raise UnknownServer
    if not spec.enabled:
        raise DisabledServer
    tools, health = await in_thread(_known, spec.id)
    if health.is_away:
        raise ToolUnavailable(AWAY.format(label))
    if health.tools_listed_at is None:
        tools, health = await _ask(spec, health)
    admitted = [tool for tool in tools if spec.admits(tool.name, tool.annotations)]
    return ToolList(spec, admitted, health.tools_listed_at or timezone.now())


def _known(server_id: int) -> tuple[list[ListedTool], ServerHealth]:
    health = mcp_servers.health_of([server_id]).get(server_id, ServerHealth())
    return mcp_servers.tools_of(server_id), health


async def _ask(spec: ServerSpec, health: ServerHealth) -> tuple[list[ListedTool], ServerHealth]:
    failed = health.last_error_at
    if failed is not None and timezone.now() - failed < NOT_AGAIN:
        raise ToolUnavailable(AWAY.format(spec.label))
    (found,) = await ask([spec])
    await in_writer(found.keep, spec.id, tools=True)
    if found.error:
        raise ToolUnavailable(AWAY.format(spec.label))
    return await in_thread(_known, spec.id)
