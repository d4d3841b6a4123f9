"""What ``doctor`` says of code execution: one line for each node, and one for a Redis that forgets."""

from __future__ import annotations

import asyncio
from typing import Any

from redis import Redis, RedisError

from apps.api.engine.dependencies import TIME_LIMIT
from apps.api.management.diagnosis import Check, State
from apps.tools.base import ToolUnavailable
from apps.tools.code_interpreter.dispatch import make_nodes
from apps.tools.code_interpreter.setup import (
    hosts_sandboxes,
    runs_on_workers,
    sandbox_redis_url,
)

NO_EVICTION = "noeviction"


def code_interpreter() -> list[Check]:
    """The nodes that run code. None is no fault of the rest: code_interpreter is a 503 then."""
    if not hosts_sandboxes():
        return [Check("code", State.UNKNOWN, "switched off (GATEWAY_SANDBOX)")]
    try:
        found = [_line(status) for status in asyncio.run(_status())]
    except ToolUnavailable as exc:
        found = [Check("code", State.UNKNOWN, str(exc))]
    return [*found, *_forgetful_redis()]


async def _status() -> list[dict[str, Any]]:
    nodes = make_nodes()
    try:
        return await nodes.status()
    finally:
        await nodes.close()


def _forgetful_redis() -> list[Check]:
    """What decides that code never runs twice may not be evicted. One that is away has been told
    of, and one that a service manages may not say."""
    if not (runs_on_workers() and sandbox_redis_url()):
        return []
    limits = {"socket_connect_timeout": TIME_LIMIT, "socket_timeout": TIME_LIMIT}
    try:
        with Redis.from_url(sandbox_redis_url(), decode_responses=True, **limits) as client:
            said: dict[str, str] = client.config_get("maxmemory*")
    except (RedisError, OSError):
        return []
    policy = said.get("maxmemory-policy", NO_EVICTION)
    if policy == NO_EVICTION or said.get("maxmemory") == "0":
        return []
    text = (
        f"The Redis of sandbox workers evicts keys ({policy}), and with them who runs what. Set "
        f"its maxmemory-policy to {NO_EVICTION}."
    )
    return [Check("code", State.FAULT, text)]


def _line(status: dict[str, Any]) -> Check:
    missing = "; ".join(status["missing"])
    if not status["usable"]:
        text = f"{_place(status)}{status['backend']}: {missing or 'cannot run'}"
        return Check("code", State.FAULT, text)
    told = [
        f"{_place(status)}{status['backend']} behind {', '.join(status['layers']) or 'nothing else'}",
        f"{status['warm']} warm and {status['busy']} busy of {status['capacity']}",
        f"{status['queued']} waiting for {status['queue_age']:g} s",
        *([f"not there: {missing}"] if missing else []),
    ]
    return Check("code", State.OK, "; ".join(told))


def _place(status: dict[str, Any]) -> str:
    """Which worker it is; the tool host has no name."""
    if "node" not in status:
        return ""
    return f"worker {status['node']}{', which is stopping' if status.get('draining') else ''}: "
