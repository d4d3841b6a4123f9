"""What ``doctor`` finds of MCP servers: each enabled one is asked."""

from __future__ import annotations

import asyncio

from apps.api.management.diagnosis import Check, State
from apps.store.mcp_servers import ServerSpec, spec
from apps.store.models import McpServer
from apps.store.secrets import SecretUnreadable
from apps.tools.mcp.asking import ask


def mcp_servers() -> list[Check]:
    """A line for each; none where there is no server. Needs the database. Keeps nothing."""
    checks: list[Check] = []
    specs: list[ServerSpec] = []
    for server in McpServer.objects.filter(enabled=True).prefetch_related("tools"):
        try:
            specs.append(spec(server))
        except SecretUnreadable as exc:
            checks.append(Check(f"mcp {server}", State.FAULT, str(exc)))
    if not specs:
        return checks
    for asked, probe in zip(specs, asyncio.run(ask(specs)), strict=True):
        well = f"{len(probe.tools)} tools, {probe.latency_ms} ms"
        state = State.FAULT if probe.error else State.OK
        checks.append(Check(f"mcp {asked.label}", state, probe.error or well))
    return checks
