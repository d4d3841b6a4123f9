"""For operators and their probes: is the process alive, and can it do its work."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from django.http import HttpRequest, HttpResponse

from apps import metering
from apps import metrics as numbers
from apps.api.conf import conf
from apps.api.engine.dependencies import (
    TIME_LIMIT,
    DependencyDown,
    has_broker,
    has_redis,
    ping_broker,
    ping_database,
    ping_redis,
)
from apps.api.engine.process import process
from apps.api.engine.pulse import measure
from apps.api.errors import Unauthenticated
from apps.api.locality import headers_of, is_local
from apps.api.replies import error_reply, json_reply
from apps.api.upstream.errors import UpstreamError
from apps.api.upstream.models import list_models
from apps.store.db import in_thread
from apps.store.errors import StoreUnavailable
from apps.tools.base import ToolUnavailable
from apps.tools.code_interpreter.dispatch import nodes
from apps.tools.code_interpreter.setup import hosts_sandboxes

log = structlog.stdlib.get_logger(__name__)

OK, DOWN = "ok", "unavailable"


async def health(request: HttpRequest) -> HttpResponse:
    """The process is alive: no I/O."""
    return json_reply({"status": "ok"})


async def ready(request: HttpRequest) -> HttpResponse:
    """Whether requests can be served; 503 names what is down. Why it is down, and what the nodes
    are that run code, is for operators: reasons have addresses in them."""
    checks: dict[str, Callable[[], Awaitable[object]]] = {
        "database": lambda: in_thread(ping_database),
        "upstream": list_models,
    }
    if has_redis():
        checks["redis"] = lambda: asyncio.to_thread(ping_redis)
    if has_broker():
        checks["broker"] = lambda: asyncio.to_thread(ping_broker)
    results = await asyncio.gather(*(_state(check) for check in checks.values()))
    states = dict(zip(checks, results, strict=True))
    reasons.note({name: state for name, state in states.items() if state != OK})
    if process.draining:
        states["process"] = "draining"
    down = [name for name, state in states.items() if state != OK]
    may_know = _is_operator(request)
    body: dict[str, object] = {
        "status": DOWN if down else OK,
        "down": down,
        "checks": states if may_know else {name: DOWN if name in down else OK for name in states},
    }
    if hosts_sandboxes():
        nodes_or_reason = await _sandbox_nodes()
        runs_code = OK if _usable(nodes_or_reason) else DOWN
        body["code_interpreter"] = nodes_or_reason if may_know else runs_code
    return json_reply(body, status=503 if down else 200)


class Reasons:
    """Why something is down, in the log: once, however often probes ask, until it is another."""

    def __init__(self) -> None:
        self._noted: Mapping[str, str] = {}

    def note(self, reasons: Mapping[str, str]) -> None:
        """``reasons`` by the names of the checks that failed."""
        if reasons == self._noted:
            return
        self._noted = reasons
        if reasons:
            log.warning("not ready", **reasons)
        else:
            log.warning("ready again")


reasons = Reasons()


async def _sandbox_nodes() -> list[dict[str, Any]] | str:
    """What the nodes say that run code, or why there is none: everything else works without."""
    try:
        async with asyncio.timeout(TIME_LIMIT):
            return await nodes().status()
    except ToolUnavailable as exc:
        return str(exc)
    except TimeoutError:
        return "no answer in time"


async def metrics(request: HttpRequest) -> HttpResponse:
    """What was counted, for Prometheus: for this machine, and whoever has the token."""
    if not _is_operator(request):
        reply = error_reply(
            Unauthenticated(
                "Metrics are for this machine, or for 'Authorization: Bearer <token>' with the "
                "token of GATEWAY_METRICS_TOKEN."
            )
        )
        reply["WWW-Authenticate"] = "Bearer"
        return reply
    measure()
    if hosts_sandboxes():
        _measure(await _sandbox_nodes())
    content, media_type = await asyncio.to_thread(
        metering.exposition, request.headers.get("accept", "")
    )
    return HttpResponse(content, content_type=media_type)


def _measure(nodes: list[dict[str, Any]] | str) -> None:
    """The interpreters of all nodes: no server process has them, so whichever is read asks."""
    usable = _usable(nodes)

    def total(name: str) -> float:
        return float(sum(node[name] for node in usable))

    numbers.sandbox_nodes.set(len(usable))
    numbers.sandboxes_busy.set(total("busy"))
    numbers.sandboxes_idle.set(total("warm"))
    numbers.sandboxes_most.set(total("capacity"))
    numbers.sandbox_bytes.set(total("memory_mb") * 2**20)
    numbers.sandbox_queue.set(total("queued"))


def _usable(nodes: list[dict[str, Any]] | str) -> list[dict[str, Any]]:
    return [node for node in nodes if isinstance(node, dict) and node["usable"]]


def _is_operator(request: HttpRequest) -> bool:
    """This machine, or whoever has the token of the metrics. API keys belong to projects."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if conf.METRICS_TOKEN and scheme.lower() == "bearer":
        return hmac.compare_digest(token.strip().encode(), conf.METRICS_TOKEN.encode())
    return is_local(request.META.get("REMOTE_ADDR"), headers_of(request))


async def _state(check: Callable[[], Awaitable[object]]) -> str:
    try:
        await asyncio.wait_for(check(), TIME_LIMIT)
    except TimeoutError:
        return "no answer in time"
    except (StoreUnavailable, UpstreamError, DependencyDown) as exc:
        return str(exc) or type(exc).__name__
    return OK
