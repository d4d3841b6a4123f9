"""What projects are shown of the MCP servers that they may use: no addresses, no secrets."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, Q

from apps.store.mcp_servers import ServerHealth, health_of, visible
from apps.store.models import McpServer


@dataclass(frozen=True, slots=True)
class ShownServer:
    """``is_away`` when it could not be reached of late and is not tried just now; ``tool_count``
    is None when its tools were never listed."""

    label: str
    description: str
    enabled: bool
    is_away: bool
    approval: str
    tool_count: int | None


def shown_servers(project_id: int) -> list[ShownServer]:
    """By label, disabled ones too. Two statements."""
    on = Q(tools__gone_at=None, tools__enabled=True)
    rows = list(
        visible(project_id).prefetch_related(None).annotate(listed=Count("tools", filter=on))
    )
    health = health_of(row.pk for row in rows)
    return [
        ShownServer(
            label=row.label,
            description=row.description,
            enabled=row.enabled,
            is_away=health.get(row.pk, ServerHealth()).is_away,
            approval=row.approval,
            tool_count=_tool_count(row, health.get(row.pk)),
        )
        for row in rows
    ]


def _tool_count(row: McpServer, health: ServerHealth | None) -> int | None:
    return None if health is None or health.tools_listed_at is None else vars(row)["listed"]
