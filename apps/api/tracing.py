"""Spans for OpenTelemetry: request, response, turn, call of a tool, each inside the one before.

Off unless OTEL_EXPORTER_OTLP_ENDPOINT is set: nothing is imported then, and nothing is sent. A
client's ``traceparent`` is taken up, the upstream and MCP servers get ours. What was said is in no
span.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Literal, TypeAlias

import structlog

from apps.api.conf import conf

Value: TypeAlias = str | int | float | bool
Kind: TypeAlias = Literal["SERVER", "CLIENT", "INTERNAL"]

log = structlog.stdlib.get_logger(__name__)


class Span:
    """Something that takes a while. Without OpenTelemetry it does nothing."""

    __slots__ = ("_span",)

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def __bool__(self) -> bool:
        return self._span is not None

    def event(self, name: str) -> None:
        """Note the moment of something."""
        if self._span is not None:
            self._span.add_event(name)

    def rename(self, name: str) -> None:
        if self._span is not None:
            self._span.update_name(name)

    def end(self, error: str = "", **attributes: Value | None) -> None:
        """``error`` says in one word why it failed; double underscores in names are dots."""
        if self._span is None:
            return
        from opentelemetry.trace import StatusCode

        if error:
            self._span.set_status(StatusCode.ERROR)
            attributes["error__type"] = error
        self._span.set_attributes(_dotted(attributes))
        self._span.end()

    def headers(self) -> dict[str, str]:
        """What makes the spans of another server parts of this one."""
        if self._span is None:
            return {}
        from opentelemetry.trace import set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier, set_span_in_context(self._span))
        return carrier

    def current(self) -> AbstractContextManager[Any]:
        """What libraries tell other servers meanwhile makes their spans parts of this one."""
        if self._span is None:
            return nullcontext()
        from opentelemetry.trace import use_span

        return use_span(self._span, record_exception=False, set_status_on_exception=False)

    def child(self, name: str, kind: Kind, **attributes: Value | None) -> Span:
        """Begin something inside it, or a trace of its own inside nothing."""
        if (tracer := _tracer()) is None:
            return NOTHING
        from opentelemetry.trace import set_span_in_context

        around = set_span_in_context(self._span) if self._span is not None else None
        return _begin(tracer, name, kind, around, attributes)


NOTHING = Span()

_request: ContextVar[Span] = ContextVar("request_span", default=NOTHING)
_run: ContextVar[Span] = ContextVar("run_span", default=NOTHING)


def begin_request(
    headers: Iterable[tuple[bytes, bytes]], name: str, **attributes: Value | None
) -> Span:
    """A request that came in, with its headers as ASGI has them; what is begun in this task from
    now on is inside it."""
    if (tracer := _tracer()) is None:
        return NOTHING
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {key.decode("latin-1"): value.decode("latin-1") for key, value in headers}
    around = TraceContextTextMapPropagator().extract(carrier, Context())
    span = _begin(tracer, name, "SERVER", around, attributes)
    _request.set(span)
    return span


def begin_run(**attributes: Value | None) -> Span:
    """A response that is begun; its turns, wherever they run, are inside it."""
    span = _request.get().child("response", "INTERNAL", **attributes)
    _run.set(span)
    return span


def begin_turn(model: str) -> Span:
    """One generation of the upstream."""
    return enclosing().child(
        f"chat {model}",
        "CLIENT",
        gen_ai__operation__name="chat",
        gen_ai__request__model=model,
    )


def begin_tool_call(name: str, call_id: str, kind: str) -> Span:
    """One call that the gateway carries out."""
    return enclosing().child(
        f"execute_tool {name}",
        "INTERNAL",
        gen_ai__operation__name="execute_tool",
        gen_ai__tool__name=name,
        gen_ai__tool__call__id=call_id,
        gateway__tool_kind=kind,
    )


def enclosing() -> Span:
    """The run of this task, else its request."""
    return _run.get() or _request.get()


# --- OpenTelemetry --------------------------------------------------------------------------------


def is_installed() -> bool:
    """Whether the packages of the extra ``otel`` are there."""
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:  # not even what it lies in
        return False


@lru_cache(maxsize=1)
def _provider() -> Any:
    """The SDK, reading the rest of its own variables; None when tracing is off."""
    if not conf.OTEL_EXPORTER_OTLP_ENDPOINT:
        return None
    if not is_installed():  # a system check has said so
        log.error("no tracing: the packages of the extra `otel` are missing")
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    own = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    url = own or f"{conf.OTEL_EXPORTER_OTLP_ENDPOINT.rstrip('/')}/v1/traces"
    name = os.environ.get("OTEL_SERVICE_NAME", "responses-gateway")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)))
    return provider


@lru_cache(maxsize=1)
def _tracer() -> Any:
    provider = _provider()
    return provider.get_tracer("responses-gateway") if provider is not None else None


def close() -> None:
    """Send what is left. Blocks for as long as the collector lets it."""
    if (provider := _provider()) is not None:
        provider.shutdown()


def _begin(
    tracer: Any, name: str, kind: Kind, around: Any, attributes: Mapping[str, Value | None]
) -> Span:
    from opentelemetry.trace import SpanKind

    return Span(tracer.start_span(name, around, SpanKind[kind], _dotted(attributes)))


def _dotted(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    return {k.replace("__", "."): v for k, v in attributes.items() if v is not None}
