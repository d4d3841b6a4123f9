"""SIGTERM: what runs may end, what is new is refused, and what does not end is ended truthfully."""

from __future__ import annotations

import signal
import threading

import pytest

from tests.gateway import Database, Gateway
from tests.programs import eventually
from tests.resilience.conftest import GatewayMaker
from tests.resilience.rows import has_lease, row_of, row_of_request, status_of
from tests.resilience.streams import ROLL, Request, Stream, question
from tests.scripted_vllm import ScriptedVLLM, pause, text, tool_call


@pytest.fixture(scope="module")
def patient(gateways: GatewayMaker, shared_database: Database) -> Gateway:
    return gateways(shared_database, VISIBLE_AFTER=0, LEASE_SECONDS=2)


@pytest.fixture(scope="module")
def impatient(gateways: GatewayMaker, shared_database: Database) -> Gateway:
    return gateways(shared_database, DRAIN_TIMEOUT=0.3, STATUS_WINDOW=0.1, VISIBLE_AFTER=0.5)


def alive(gateway: Gateway) -> Gateway:
    if gateway.program.process.poll() is not None:
        gateway.restart()
    return gateway


def test_what_is_under_way_completes_and_what_is_new_is_refused(
    patient: Gateway, vllm: ScriptedVLLM
) -> None:
    gateway, go_on = alive(patient), threading.Event()
    vllm.script(text("A") + pause(go_on) + text("B"))
    stream = Stream(gateway)
    stream.until("response.output_text.delta")
    vllm.script(text("A", hang_before_headers=go_on))
    number = len(vllm.requests)
    request = Request(gateway)
    vllm.wait_for_requests(number + 1)
    asked = len(vllm.chats)

    gateway.program.signal(signal.SIGTERM)
    eventually(lambda: gateway.http.get("/ready").status_code == 503)
    assert gateway.http.get("/ready").json()["checks"]["process"] == "draining"
    for streamed in (True, False):
        refused = gateway.http.post("/v1/responses", json=question(stream=streamed))
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
        assert refused.json()["error"]["code"] == "service_unavailable"
    assert len(vllm.chats) == asked

    go_on.set()
    response = stream.end()
    assert response["status"] == "completed"
    assert request.answer.status == 200
    other = request.json()
    assert gateway.program.wait() == 0
    for each in (response, other):
        assert status_of(gateway.database, each["id"]) == "completed"


def test_what_does_not_end_in_time_is_ended_with_a_terminal_event(
    impatient: Gateway, vllm: ScriptedVLLM, forever: threading.Event
) -> None:
    gateway = alive(impatient)
    vllm.script(text("A") + pause(forever))
    talking = Stream(gateway)
    talking.until("response.output_text.delta")
    vllm.script(text("A", hang_before_headers=forever))
    silent = Stream(gateway)
    silent_id = silent.begun()
    number = len(vllm.requests)
    vllm.script(text("A", hang_before_headers=forever), tool_call("roll", "{") + pause(forever))
    early = Request(gateway)
    vllm.wait_for_requests(number + 1)
    late = Request(gateway, tools=[ROLL])
    asked = vllm.wait_for_requests(number + 2)[number:]
    eventually(lambda: row_of_request(gateway.database, asked[1].headers["x-request-id"]))

    gateway.program.signal(signal.SIGTERM)
    ends = [talking.end(), silent.end()]
    for end in ends:
        assert (end["status"], end["error"]["code"]) == ("failed", "server_error")
        row = row_of(gateway.database, end["id"])
        assert row is not None
        assert (row.status, row.error_code) == ("failed", "server_error")
    assert ends[1]["id"] == silent_id
    assert ends[0]["output"][0]["status"] == "incomplete"
    for request in (early, late):
        assert request.answer.status == 503
        assert request.answer.headers["Retry-After"]
        assert request.json()["error"]["message"] == ends[0]["error"]["message"]
    assert gateway.program.wait() == 0
    for sent in asked:
        assert sent.aborted.wait(5)
        found = row_of_request(gateway.database, sent.headers["x-request-id"])
        assert found is not None
        assert found.status == "failed"


def test_a_second_signal_stops_at_once(
    patient: Gateway, vllm: ScriptedVLLM, forever: threading.Event
) -> None:
    gateway = alive(patient)
    vllm.script(text("A") + pause(forever))
    stream = Stream(gateway)
    response_id = stream.begun()
    stream.until("response.output_text.delta")
    row = eventually(lambda: row_of(gateway.database, response_id))
    gateway.program.signal(signal.SIGTERM)
    eventually(lambda: gateway.http.get("/ready").status_code == 503)
    gateway.program.signal(signal.SIGTERM)
    assert gateway.program.wait(limit=5) == 1
    stream.leave()
    assert vllm.chats[-1].aborted.wait(5)

    def told_truly() -> bool:
        """Ended, or without an owner, which reads as failed."""
        status = status_of(gateway.database, response_id)
        return status in ("cancelled", "failed") or not has_lease(gateway.database, row.owner)

    eventually(told_truly)
    assert status_of(gateway.database, response_id) != "completed"
