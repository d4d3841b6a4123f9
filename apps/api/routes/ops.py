"""For operators and their probes: is the process alive, and can it do its work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from django.http import HttpRequest, HttpResponse

from apps.api.engine.dependencies import (
    TIME_LIMIT,
    DependencyDown,
    has_broker,
    has_cache,
    ping_broker,
    ping_cache,
    ping_database,
)
from apps.api.engine.process import process
from apps.api.replies import json_reply
from apps.api.upstream.errors import UpstreamError
from apps.api.upstream.models import list_models
from apps.store.db import in_thread
from apps.store.errors import StoreUnavailable


async def health(request: HttpRequest) -> HttpResponse:
    """The process is alive: no I/O."""
    return json_reply({"status": "ok"})


async def ready(request: HttpRequest) -> HttpResponse:
    """Whether requests can be served; 503 names what is down."""
    checks: dict[str, Callable[[], Awaitable[object]]] = {
        "database": lambda: in_thread(ping_database),
        "upstream": list_models,
    }
    if has_cache():
        checks["cache"] = lambda: asyncio.to_thread(ping_cache)
    if has_broker():
        checks["broker"] = lambda: asyncio.to_thread(ping_broker)
    results = await asyncio.gather(*(_state(check) for check in checks.values()))
    states = dict(zip(checks, results, strict=True))
    if process.draining:
        states["process"] = "draining"
    down = [name for name, state in states.items() if state != "ok"]
    body = {"status": "unavailable" if down else "ok", "down": down, "checks": states}
    return json_reply(body, status=503 if down else 200)


async def _state(check: Callable[[], Awaitable[object]]) -> str:
    try:
        await asyncio.wait_for(check(), TIME_LIMIT)
    except TimeoutError:
        return "no answer in time"
    except (StoreUnavailable, UpstreamError, DependencyDown) as exc:
        return str(exc) or type(exc).__name__
    return "ok"
