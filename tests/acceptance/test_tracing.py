"""What an OpenTelemetry collector gets, and what the upstream is told of the trace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.gateway import Gateway, sqlite_database
from tests.otel_collector import Collector
from tests.resilience.streams import create, question
from tests.scripted_vllm import Reply, ScriptedVLLM, text, tool_call
from tests.tools.mcp.servers import OnHttp
from tests.tools.mcp.wicked import Journal, wicked


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture(scope="module")
def traced(
    collector: Collector, vllm: ScriptedVLLM, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("traced")
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    running = Gateway(
        sqlite_database(folder),
        folder,
        upstream=vllm.url,
        settings={"MCP_ALLOW_PRIVATE_NETWORKS": 1},
        environment=environment,
    )
    yield running
    running.close()


def test_a_clients_trace_goes_through_the_gateway_to_the_upstream(
    traced: Gateway, vllm: ScriptedVLLM, collector: Collector
) -> None:
    vllm.script(text("a secret answer"))
    trace, parent = uuid4().hex, uuid4().hex[:16]
    answer = traced.http.post(
        "/v1/responses",
        json=question(input="a secret question", stream=True),
        headers={"traceparent": f"00-{trace}-{parent}-01"},
    )
    assert answer.status_code == 200
    request = collector.span("POST /v1/responses", trace)
    run = collector.span("response", trace)
    turn = collector.span("chat tiny", trace)
    assert request.parent_id == parent
    assert run.parent_id == request.span_id
    assert turn.parent_id == run.span_id
    assert vllm.chats[-1].headers["traceparent"] == f"00-{trace}-{turn.span_id}-01"
    assert turn.events == ["first token"]
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["gateway.request_id"] == answer.headers["X-Request-Id"]
    assert run.attributes["gateway.status"] == "completed"
    assert run.attributes["gateway.response_id"] in answer.text
    assert run.attributes["gen_ai.usage.output_tokens"] > 0
    assert not any(span.failed for span in (request, run, turn))
    assert b"secret" not in collector.bodies


def test_a_call_of_a_tool_is_a_span_and_its_server_is_told_of_it(
    traced: Gateway, vllm: ScriptedVLLM, collector: Collector, tmp_path: Path
) -> None:
    vllm.script(tool_call("toys__trace", "{}"), text("Done."))
    trace, parent = uuid4().hex, uuid4().hex[:16]
    with OnHttp(wicked(Journal(tmp_path / "journal")).streamable_http_app()) as server:
        tool = {"type": "mcp", "server_label": "toys", "server_url": server.url()}
        answer = traced.http.post(
            "/v1/responses",
            json=question(tools=[tool | {"require_approval": "never"}]),
            headers={"traceparent": f"00-{trace}-{parent}-01"},
        )
    run = collector.span("response", trace)
    call = collector.span("execute_tool trace", trace)
    assert call.parent_id == run.span_id
    assert call.attributes["gateway.tool_kind"] == "mcp"
    told = next(item for item in answer.json()["output"] if item["type"] == "mcp_call")
    assert told["output"] == f"00-{trace}-{call.span_id}-01"
    assert call.attributes["gen_ai.tool.call.id"] == told["id"]


def test_a_failure_is_marked_where_it_happened(
    traced: Gateway, vllm: ScriptedVLLM, collector: Collector
) -> None:
    vllm.script(Reply(options={"status": 503, "body": {"detail": "No."}}))
    trace = uuid4().hex
    traced.http.post(
        "/v1/responses",
        json=question(),
        headers={"traceparent": f"00-{trace}-{uuid4().hex[:16]}-01"},
    )
    for name, kind in (
        ("POST /v1/responses", "503"),
        ("response", "upstream_unavailable"),
        ("chat tiny", "refused"),
    ):
        span = collector.span(name, trace)
        assert (span.failed, span.attributes["error.type"]) == (True, kind)


def test_without_a_collector_the_upstream_is_told_of_no_trace(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    create(gateway)
    assert "traceparent" not in vllm.chats[-1].headers
