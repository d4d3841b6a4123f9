"""What an operator's Prometheus reads at /metrics."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx

from apps import metering, metrics  # noqa: F401 - declares them
from tests import markdown
from tests.gateway import Gateway, sqlite_database
from tests.numbers import Numbers
from tests.programs import ROOT, eventually
from tests.resilience.streams import Stream, create, question
from tests.scripted_vllm import Reply, ScriptedVLLM, pause, text

PAGE = ROOT / "docs/observability.md"


def test_requests_are_counted_by_their_route_not_their_path(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    before = Numbers(gateway.url)
    response = create(gateway)
    gateway.http.get(f"/v1/responses/{response['id']}")
    gateway.http.get("/v1/responses/resp_unknown")
    gateway.http.get("/no/such/path")
    gateway.http.request("PROPFIND", "/v1/models")
    after = Numbers(gateway.url)

    def grown(**labels: str) -> float:
        return after("http_requests_total", **labels) - before("http_requests_total", **labels)

    one = "/v1/responses/<response_id>"
    assert grown(method="POST", route="/v1/responses", status="200") == 1
    assert grown(method="GET", route=one, status="200") == 1
    assert grown(method="GET", route=one, status="404") == 1
    assert grown(method="other", route="/v1/models", status="405") == 1
    assert not any("resp_" in str(key) or "/no/such" in str(key) for key in after.samples)


def test_a_run_is_counted_with_its_tokens_and_times(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    before = Numbers(gateway.url)
    vllm.script(text("A", "B", "C", delay=0.01))
    Stream(gateway).end()
    after = Numbers(gateway.url)

    def grown(name: str, **labels: str) -> float:
        return after(name, **labels) - before(name, **labels)

    assert grown("runs_total", status="completed") == 1
    assert grown("run_duration_seconds_count", status="completed") == 1
    assert grown("run_first_token_seconds_count") == 1
    assert grown("stream_first_event_seconds_count") == 1
    assert grown("tokens_total", kind="output") > 0
    assert grown("turns_total", outcome="completed") == 1
    assert grown("token_gap_seconds_count") >= 2
    assert grown("token_gap_seconds_sum") >= 0.01
    path = "/chat/completions"
    assert grown("upstream_requests_total", path=path, status="200") == 1
    assert grown("upstream_response_seconds_count", path=path) == 1
    assert grown("store_duration_seconds_count", unit="finish_responses") == 1


def test_failures_are_counted_by_where_and_why(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    before = Numbers(gateway.url)
    vllm.script(Reply(options={"status": 503, "body": {"detail": "No."}}))
    gateway.http.post("/v1/responses", json=question())
    labels = {"stage": "upstream", "code": "upstream_unavailable"}

    def failed() -> bool:
        after = Numbers(gateway.url)
        name = "run_failures_total"
        return after(name, **labels) - before(name, **labels) == 1

    eventually(failed)  # the row of a refused run is written after the answer


def test_what_is_under_way_is_shown_while_it_is(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    go_on = threading.Event()
    vllm.script(text("A") + pause(go_on))
    stream = Stream(gateway)
    stream.begun()
    during = Numbers(gateway.url)
    assert (during("streams_open"), during("runs_open")) == (1, 1)
    assert during("http_requests_open") == 2  # the question itself is one
    assert during("process_resident_bytes") > 10e6
    go_on.set()
    stream.end()
    after = Numbers(gateway.url)
    assert (after("streams_open"), after("runs_open"), after("http_requests_open")) == (0, 0, 1)


def test_a_reader_elsewhere_needs_the_token(tmp_path: Path) -> None:
    gateway = Gateway(
        sqlite_database(tmp_path), tmp_path, settings={"METRICS_TOKEN": "a word"}, migrate=False
    )
    try:
        url = f"{gateway.url}/metrics"
        elsewhere = {"X-Forwarded-For": "203.0.113.1"}
        refused = httpx.get(url, headers=elsewhere)
        assert refused.status_code == 401
        assert "GATEWAY_METRICS_TOKEN" in refused.json()["error"]["message"]
        wrong = httpx.get(url, headers=elsewhere | {"Authorization": "Bearer another"})
        assert wrong.status_code == 401
        Numbers(gateway.url, Authorization="Bearer a word", **elsewhere)
        Numbers(gateway.url)
    finally:
        gateway.close()


def test_the_page_lists_every_metric_with_its_labels() -> None:
    rows = [row for section in SECTIONS for row in markdown.table(PAGE, section)]
    listed = {name.strip("`"): (labels.replace("`", ""), help_) for name, labels, help_ in rows}
    shown = {m.name: (", ".join(m.labels), m.help) for m in metering.declared}
    assert listed == shown


SECTIONS = ("HTTP", "Responses", "Upstream", "Database", "Code", "Process")
