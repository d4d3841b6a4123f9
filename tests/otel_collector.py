"""A collector of traces for tests: takes OTLP over HTTP and keeps the spans."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.programs import eventually


@dataclass(frozen=True)
class TakenSpan:
    """One span; ids in hexadecimal."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    failed: bool
    attributes: dict[str, Any]
    events: list[str] = field(default_factory=list)


class Collector:
    """Listens while it is entered."""

    def __init__(self) -> None:
        self.spans: list[TakenSpan] = []
        self.bodies = b""
        taken = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                taken.take(body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *args: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, body: bytes) -> None:
        self.bodies += body
        request = ExportTraceServiceRequest.FromString(body)
        self.spans += [
            TakenSpan(
                name=span.name,
                trace_id=span.trace_id.hex(),
                span_id=span.span_id.hex(),
                parent_id=span.parent_span_id.hex(),
                failed=span.status.code == 2,
                attributes={
                    each.key: getattr(each.value, str(each.value.WhichOneof("value")))
                    for each in span.attributes
                },
                events=[event.name for event in span.events],
            )
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def span(self, name: str, trace_id: str) -> TakenSpan:
        """The span of a trace with a name that begins so; waits for it."""

        def find() -> TakenSpan | None:
            return next(
                (
                    span
                    for span in list(self.spans)
                    if span.name.startswith(name) and span.trace_id == trace_id
                ),
                None,
            )

        return eventually(find, what=f"{name} among {[span.name for span in self.spans]}")
