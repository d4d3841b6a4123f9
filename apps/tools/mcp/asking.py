"""Asks servers once, without having loaded what speaks to them before that: it takes longer to load
than the whole of the gateway."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from apps.store.mcp_servers import ServerSpec

if TYPE_CHECKING:
    from apps.tools.mcp.probe import Probe


async def ask(specs: Sequence[ServerSpec]) -> list[Probe]:
    """Each of them, several at a time."""
    from apps.tools.mcp.probe import probe_all

    return await probe_all(specs)
