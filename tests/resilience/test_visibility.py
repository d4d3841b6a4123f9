"""A run that lasts is seen while it lasts, and nothing continues it before its end."""

from __future__ import annotations

import threading
import time

import pytest

from tests.gateway import Gateway
from tests.programs import eventually
from tests.resilience.rows import Row, row_of, row_of_request, status_of
from tests.resilience.streams import Request, Stream, create, question, retrieve
from tests.scripted_vllm import ScriptedVLLM, pause, text

WITHIN = 1.5
"""A second, and half of one for a loaded machine."""


@pytest.fixture
def gateway(stateful_gateway: Gateway) -> Gateway:
    return stateful_gateway


def in_progress(gateway: Gateway, request_id: str) -> Row:
    """The row of a run that goes on; it is there in time."""

    def look() -> Row | None:
        return row_of_request(gateway.database, request_id)

    row = eventually(look, limit=WITHIN, what="visible")
    assert row.status == "in_progress"
    return row


def test_a_stream_is_visible_while_it_goes_on(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    go_on = threading.Event()
    vllm.script(text("A") + pause(go_on) + text("B"))
    stream = Stream(gateway)
    response_id = stream.begun()
    row = in_progress(gateway, stream.answer.headers["X-Request-Id"] or "")
    assert row.id == response_id
    seen = retrieve(gateway, response_id)
    assert (seen["status"], seen["output"], seen["usage"]) == ("in_progress", [], None)
    go_on.set()
    assert stream.end() == retrieve(gateway, response_id)
    assert status_of(gateway.database, response_id) == "completed"


@pytest.mark.parametrize("stream", [True, False])
def test_a_run_whose_upstream_has_not_answered_is_visible_too(
    gateway: Gateway, vllm: ScriptedVLLM, stream: bool
) -> None:
    go_on = threading.Event()
    vllm.script(text("A", hang_before_headers=go_on))
    number = len(vllm.requests)
    request = Request(gateway, stream=stream)
    request_id = vllm.wait_for_requests(number + 1)[-1].headers["x-request-id"]
    row = in_progress(gateway, request_id)
    go_on.set()
    assert request.answer.read()
    request.leave()
    assert status_of(gateway.database, row.id) == "completed"


def test_an_upstream_that_refuses_late_leaves_a_failed_response(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    go_on = threading.Event()
    vllm.script(text("A", hang_before_headers=go_on, status=500, body={"detail": "No."}))
    number = len(vllm.requests)
    request = Request(gateway)
    request_id = vllm.wait_for_requests(number + 1)[-1].headers["x-request-id"]
    row = in_progress(gateway, request_id)
    go_on.set()
    assert request.answer.status == 502
    request.leave()
    eventually(lambda: status_of(gateway.database, row.id) == "failed")
    stored = retrieve(gateway, row.id)
    assert (stored["status"], stored["error"]["code"]) == ("failed", "server_error")


def test_a_response_in_progress_cannot_be_continued(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    go_on = threading.Event()
    vllm.script(text("A") + pause(go_on))
    stream = Stream(gateway)
    response_id = stream.begun()
    eventually(lambda: row_of(gateway.database, response_id))
    asked = len(vllm.requests)
    answer = gateway.http.post("/v1/responses", json=question(previous_response_id=response_id))
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (
        "previous_response_in_progress",
        "previous_response_id",
    )
    assert len(vllm.requests) == asked
    go_on.set()
    stream.end()
    create(gateway, previous_response_id=response_id)


def test_the_time_of_a_run_and_of_its_first_token_is_known(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    go_on = threading.Event()
    vllm.script(text("A") + pause(go_on) + text("B"))
    began = time.monotonic()
    stream = Stream(gateway)
    stream.until("response.output_text.delta")
    first = (time.monotonic() - began) * 1000
    eventually(lambda: row_of(gateway.database, stream.events[0]["response"]["id"]))
    go_on.set()
    response = stream.end()
    lasted = (time.monotonic() - began) * 1000
    [(first_token_ms, duration_ms)] = gateway.database.query(
        "SELECT first_token_ms, duration_ms FROM store_response WHERE id = %s", response["id"]
    )
    assert 0 <= first_token_ms <= first + 1
    assert 500 <= duration_ms <= lasted + 1
