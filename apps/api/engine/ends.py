"""What operators are told when a response, or a call of a tool, has come to its end: numbers, a
span, and a line in the log."""

from __future__ import annotations

import time
from collections.abc import Awaitable

import structlog

from apps import metrics
from apps.api import tracing
from apps.api.conf import conf
from apps.api.protocol.composer import WaitingCall
from apps.api.protocol.results import CallResult
from apps.store.snapshots import RunSnapshot

log = structlog.stdlib.get_logger(__name__)


def report(run: RunSnapshot, span: tracing.Span, *, stored: bool) -> None:
    """Count the run, end its span, and log it as far as the operator wants that."""
    if not stored:
        run.status, run.error_stage, run.error_code = "failed", "store", "server_error"
    _count(run)
    if span:
        _trace(run, span)
    if conf.LOG_RUNS != "off":
        _log(run)


def _count(run: RunSnapshot) -> None:
    metrics.runs.add(run.status)
    metrics.run_seconds.observe((run.duration_ms or 0) / 1000, run.status)
    if run.status == "failed":
        metrics.run_failures.add(run.error_stage, run.error_code)
    if run.first_token_ms is not None:
        metrics.first_token_seconds.observe(run.first_token_ms / 1000)
    if run.input_tokens or run.output_tokens:
        metrics.tokens.add("input", amount=run.input_tokens)
        metrics.tokens.add("cached", amount=run.cached_tokens)
        metrics.tokens.add("output", amount=run.output_tokens)
        metrics.tokens.add("reasoning", amount=run.reasoning_tokens)


def _trace(run: RunSnapshot, span: tracing.Span) -> None:
    span.end(
        error=run.error_code,
        gateway__status=run.status,
        gateway__project_id=run.project_id,
        gateway__request_id=run.request_id,
        gateway__turns=run.turns,
        gateway__tool_calls=run.tool_calls,
        gen_ai__request__model=run.model,
        gen_ai__usage__input_tokens=run.input_tokens,
        gen_ai__usage__output_tokens=run.output_tokens,
    )


def _log(run: RunSnapshot) -> None:
    """One line. What was said is part of it only by setting, and never of what is not stored."""
    fields = {
        "response_id": run.id,
        "request_id": run.request_id,
        "project_id": run.project_id,
        "key_id": run.key_id,
        "model": run.model,
        "status": run.status,
        "error_code": run.error_code or None,
        "error_stage": run.error_stage or None,
        "first_token_ms": run.first_token_ms,
        "duration_ms": run.duration_ms,
        "input_tokens": run.input_tokens,
        "output_tokens": run.output_tokens,
        "turns": run.turns,
        "tool_calls": run.tool_calls,
    }
    if conf.LOG_RUNS == "content" and run.kept:
        fields["input"] = [item.json.decode() for item in run.input]
        fields["output"] = [item.json.decode() for item in run.output]
    log.info("run ended", **{name: value for name, value in fields.items() if value is not None})


async def observed(call: WaitingCall, work: Awaitable[CallResult]) -> CallResult:
    """Carry out a call of a tool, counted and traced."""
    kind, outcome, began = call.offer.kind, "cancelled", time.perf_counter()
    span = tracing.begin_tool_call(call.offer.tool, call.item_id, kind)
    try:
        with span.current():
            result = await work
        outcome = result.error.kind if result.error is not None else "ok"
    finally:
        metrics.tool_calls.add(kind, outcome)
        metrics.tool_seconds.observe(time.perf_counter() - began, kind)
        span.end("" if outcome == "ok" else outcome)
    return result
