"""What a process leaves behind when it dies is found, and nothing that was lost comes back."""

from __future__ import annotations

import signal
import threading

import pytest

from tests.gateway import Database, Gateway
from tests.numbers import Numbers
from tests.programs import eventually
from tests.resilience.conftest import GatewayMaker
from tests.resilience.rows import has_lease, row_of, status_of
from tests.resilience.streams import Stream, create, question, retrieve
from tests.scripted_vllm import ScriptedVLLM, pause, text

LOST = ("failed", "lost", "server_error", None)


@pytest.fixture(scope="module")
def watcher(gateways: GatewayMaker, shared_database: Database) -> Gateway:
    """A process that looks for dead runs when it starts, and then not for an hour."""
    return gateways(shared_database, LEASE_SECONDS=3600)


@pytest.fixture(scope="module")
def restless(gateways: GatewayMaker, shared_database: Database) -> Gateway:
    """A process with a short lease, whose runs are visible at once."""
    return gateways(shared_database, LEASE_SECONDS=2, VISIBLE_AFTER=0)


@pytest.fixture
def mortal(restless: Gateway) -> Gateway:
    """The same, alive."""
    if restless.program.process.poll() is not None:
        restless.restart()
    return restless


def begin(gateway: Gateway, vllm: ScriptedVLLM, event: threading.Event) -> tuple[Stream, str]:
    """A stream that waits in its middle and is visible."""
    vllm.script(text("A") + pause(event) + text("B"))
    stream = Stream(gateway)
    response_id = stream.begun()
    stream.until("response.output_text.delta")
    eventually(lambda: status_of(gateway.database, response_id))
    return stream, response_id


def test_the_runs_of_a_killed_process_have_failed_once_its_lease_has_ended(
    watcher: Gateway, mortal: Gateway, vllm: ScriptedVLLM, forever: threading.Event
) -> None:
    stream, response_id = begin(mortal, vllm, forever)
    mortal.program.signal(signal.SIGKILL)
    mortal.program.wait()
    stream.leave()
    eventually(lambda: retrieve(watcher, response_id)["status"] == "failed")
    seen = retrieve(watcher, response_id)
    assert (seen["error"]["code"], seen["completed_at"]) == ("server_error", None)
    assert seen in watcher.http.get("/v1/responses").json()["data"]
    # Nobody has marked the row yet: reading it was enough, and so it is for going on.
    assert status_of(watcher.database, response_id) == "in_progress"
    vllm.script(text("C"))
    create(watcher, previous_response_id=response_id)
    assert [m["content"] for m in vllm.chats[-1].body["messages"]] == ["Hi", "Hi"]

    mortal.restart()
    eventually(lambda: status_of(mortal.database, response_id) == "failed")
    row = row_of(mortal.database, response_id)
    assert row is not None
    assert row.failure == LOST
    assert retrieve(mortal, response_id) == seen


def test_any_other_process_sweeps_what_a_killed_one_left(
    start_gateway: GatewayMaker, mortal: Gateway, vllm: ScriptedVLLM, forever: threading.Event
) -> None:
    victim = start_gateway(mortal.database, LEASE_SECONDS=2, VISIBLE_AFTER=0)
    before = Numbers(mortal.url)
    lost, lost_id = begin(victim, vllm, forever)
    kept, kept_id = begin(mortal, vllm, go_on := threading.Event())
    victim.program.signal(signal.SIGKILL)
    victim.program.wait()
    lost.leave()
    eventually(lambda: status_of(mortal.database, lost_id) == "failed")
    eventually(lambda: Numbers(mortal.url)("runs_lost_total") == before("runs_lost_total") + 1)
    row = row_of(mortal.database, lost_id)
    assert row is not None
    assert row.failure == LOST
    assert status_of(mortal.database, kept_id) == "in_progress"  # its owner is alive
    go_on.set()
    assert kept.end()["status"] == "completed"


def test_a_process_that_slept_longer_than_its_lease_revives_nothing(
    mortal: Gateway, vllm: ScriptedVLLM
) -> None:
    go_on = threading.Event()
    stream, response_id = begin(mortal, vllm, go_on)
    before = row_of(mortal.database, response_id)
    assert before is not None
    mortal.program.signal(signal.SIGSTOP)
    eventually(lambda: not has_lease(mortal.database, before.owner))
    mortal.program.signal(signal.SIGCONT)
    go_on.set()
    response = stream.end()
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    eventually(lambda: status_of(mortal.database, response_id) == "failed")
    assert retrieve(mortal, response_id)["status"] == "failed"

    vllm.script(text("A"))
    after = row_of(mortal.database, create(mortal)["id"])
    assert after is not None
    assert (after.status, after.owner == before.owner) == ("completed", False)


def test_a_process_that_ends_in_order_gives_its_lease_back(
    mortal: Gateway, vllm: ScriptedVLLM
) -> None:
    row = row_of(mortal.database, create(mortal)["id"])
    assert row is not None
    assert has_lease(mortal.database, row.owner)
    mortal.program.signal(signal.SIGTERM)
    assert mortal.program.wait() == 0
    assert not mortal.database.query("SELECT 1 FROM store_lease WHERE owner = %s", row.owner)


def test_two_processes_read_and_continue_each_others_responses(
    watcher: Gateway, mortal: Gateway, vllm: ScriptedVLLM
) -> None:
    go_on = threading.Event()
    stream, response_id = begin(mortal, vllm, go_on)
    assert retrieve(watcher, response_id)["status"] == "in_progress"
    refused = watcher.http.post("/v1/responses", json=question(previous_response_id=response_id))
    assert refused.json()["error"]["code"] == "previous_response_in_progress"
    go_on.set()
    assert stream.end() == retrieve(watcher, response_id)
    create(watcher, previous_response_id=response_id)
