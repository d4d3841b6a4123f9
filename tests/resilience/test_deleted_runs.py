"""To delete a response that still runs ends it, whichever process runs it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.gateway import Database, Gateway
from tests.programs import eventually
from tests.resilience.conftest import GatewayMaker
from tests.resilience.rows import status_of
from tests.resilience.streams import Stream, question
from tests.scripted_vllm import ScriptedVLLM, pause, text

DELETED = {"code": "response_deleted", "message": "The response was deleted while it ran."}


@pytest.fixture(scope="module")
def running(gateways: GatewayMaker, shared_database: Database) -> Gateway:
    return gateways(shared_database, VISIBLE_AFTER=0, LEASE_SECONDS=3)


@pytest.fixture(scope="module")
def other(gateways: GatewayMaker, shared_database: Database) -> Gateway:
    return gateways(shared_database)


def delete(gateway: Gateway, response_id: str) -> None:
    assert gateway.http.delete(f"/v1/responses/{response_id}").json()["deleted"] is True


@pytest.mark.parametrize("by", ["running", "other"])
def test_a_stream_that_is_deleted_ends_and_so_does_the_upstream(
    running: Gateway,
    shared_database: Database,
    vllm: ScriptedVLLM,
    forever: threading.Event,
    by: str,
    request: pytest.FixtureRequest,
) -> None:
    vllm.script(text("A") + pause(forever))
    stream = Stream(running)
    response_id = stream.begun()
    eventually(lambda: status_of(shared_database, response_id))
    delete(request.getfixturevalue(by), response_id)
    response = stream.end()
    assert vllm.chats[-1].aborted.wait(5)
    assert (response["status"], response["error"]) == ("failed", DELETED)
    assert status_of(shared_database, response_id) == "cancelled"


def test_an_answer_that_is_deleted_is_an_error_which_clients_do_not_repeat(
    running: Gateway, shared_database: Database, vllm: ScriptedVLLM, forever: threading.Event
) -> None:
    vllm.script(text("A") + pause(forever))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(running.http.post, "/v1/responses", json=question())
        query = "SELECT id FROM store_response WHERE status = 'in_progress'"
        ((response_id,),) = eventually(lambda: shared_database.query(query) or None)
        delete(running, response_id)
        answer = asked.result()
    assert answer.status_code == 410
    assert answer.json()["error"] == DELETED | {"type": "invalid_request_error", "param": None}
