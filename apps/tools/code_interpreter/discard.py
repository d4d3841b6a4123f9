"""Ends the interpreters of containers that are to be no more; for code without an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from apps.tools.base import ToolUnavailable
from apps.tools.code_interpreter.dispatch import make_nodes

log = structlog.stdlib.get_logger(__name__)


def discard_containers(container_ids: Iterable[str]) -> None:
    """What runs in them is stopped. Where no node can be reached, none holds one for long: an
    interpreter that nobody uses leaves."""
    asyncio.run(_discard(list(container_ids)))


async def _discard(container_ids: list[str]) -> None:
    nodes = make_nodes()
    try:
        for container_id in container_ids:
            await nodes.discard(container_id)
    except ToolUnavailable as exc:
        log.warning("interpreters not ended", reason=str(exc))
    finally:
        await nodes.close()
