"""What must not be kept is nowhere: unstored requests, deleted responses."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.gateway import Database, Gateway
from tests.programs import eventually
from tests.resilience.rows import Row, row_of, row_of_request, status_of
from tests.resilience.streams import ROLL, Stream, create, question, retrieve
from tests.scripted_vllm import ScriptedVLLM, pause, reasoning, text, tool_call


@pytest.fixture
def gateway(stateful_gateway: Gateway) -> Gateway:
    return stateful_gateway


@pytest.fixture
def secret() -> str:
    """A word that was never said before."""
    return f"word{uuid4().hex}"


def tables(database: Database) -> list[str]:
    catalog = (
        "SELECT name FROM sqlite_master WHERE type = 'table'"
        if database.is_sqlite
        else "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
    )
    return [name for (name,) in database.query(catalog)]


def mentions(database: Database, word: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Every row of every table that holds the word."""
    for table in tables(database):
        for row in database.query(f'SELECT * FROM "{table}"'):
            if word in json.dumps(row, default=str):
                yield table, row


def unstored(gateway: Gateway, request_id: str | None) -> Row:
    """The row of a request with store: false, once it is there."""
    return eventually(lambda: row_of_request(gateway.database, request_id))


# --- store: false ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
def test_an_unstored_response_leaves_one_row_without_content(
    gateway: Gateway, vllm: ScriptedVLLM, secret: str, stream: bool
) -> None:
    vllm.script(reasoning(secret) + text(secret) + tool_call("roll", json.dumps({"dice": secret})))
    answer = gateway.http.post(
        "/v1/responses",
        json=question(
            input=secret,
            instructions=secret,
            metadata={"note": secret},
            user=secret,
            tools=[{**ROLL, "description": secret}],
            store=False,
            stream=stream,
        ),
    )
    assert answer.status_code == 200
    assert secret in answer.text
    row = unstored(gateway, answer.headers["X-Request-Id"])
    assert (row.status, bool(row.kept)) == ("completed", False)
    assert not list(mentions(gateway.database, secret))
    assert [table for table, _ in mentions(gateway.database, row.id)] == ["store_response"]
    [counted] = gateway.database.query(
        "SELECT model, tool_calls, input_tokens, output_tokens, reasoning_tokens, turns, streamed"
        " FROM store_response WHERE id = %s",
        row.id,
    )
    assert tuple(counted) == ("tiny", 1, 12, 5, 1, 1, stream)
    assert secret not in gateway.program.output


def test_an_unstored_response_that_lasts_is_counted_without_content(
    gateway: Gateway, vllm: ScriptedVLLM, secret: str
) -> None:
    go_on = threading.Event()
    vllm.script(text(secret) + pause(go_on))
    stream = Stream(gateway, input=secret, store=False)
    response_id = stream.begun()
    eventually(lambda: status_of(gateway.database, response_id) == "in_progress")
    assert not list(mentions(gateway.database, secret))
    go_on.set()
    stream.end()
    eventually(lambda: status_of(gateway.database, response_id) == "completed")
    assert not list(mentions(gateway.database, secret))


def test_an_unstored_response_that_was_left_is_counted_without_content(
    gateway: Gateway, vllm: ScriptedVLLM, secret: str, forever: threading.Event
) -> None:
    vllm.script(text(secret) + pause(forever))
    stream = Stream(gateway, input=secret, store=False)
    response_id = stream.begun()
    stream.until("response.output_text.delta")
    stream.leave()
    eventually(lambda: status_of(gateway.database, response_id) == "cancelled")
    assert not list(mentions(gateway.database, secret))


def test_an_unstored_response_can_never_be_read(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    answer = gateway.http.post("/v1/responses", json=question(store=False))
    response_id = answer.json()["id"]
    unstored(gateway, answer.headers["X-Request-Id"])
    path = f"/v1/responses/{response_id}"
    assert gateway.http.get(path).status_code == 404
    assert gateway.http.get(f"{path}/input_items").status_code == 404
    assert gateway.http.delete(path).status_code == 404
    listed = gateway.http.get("/v1/responses", params={"limit": 100}).json()["data"]
    assert response_id not in [response["id"] for response in listed]
    assert_refused(gateway, response_id)
    item = {"type": "item_reference", "id": answer.json()["output"][0]["id"]}
    assert gateway.http.post("/v1/responses", json=question(input=[item])).status_code == 404


# --- Deletion -------------------------------------------------------------------------------------


def assert_refused(gateway: Gateway, previous: str) -> None:
    """Nothing goes on from this response."""
    answer = gateway.http.post("/v1/responses", json=question(previous_response_id=previous))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "previous_response_not_found"


def delete(gateway: Gateway, response_id: str) -> None:
    answer = gateway.http.delete(f"/v1/responses/{response_id}")
    assert (answer.status_code, answer.json()["deleted"]) == (200, True)


def test_a_deleted_response_leaves_a_tombstone_and_not_a_byte(
    gateway: Gateway, vllm: ScriptedVLLM, secret: str
) -> None:
    vllm.script(text(secret))
    response_id = create(gateway, input=secret, instructions=secret)["id"]
    assert list(mentions(gateway.database, secret))
    delete(gateway, response_id)
    assert not list(mentions(gateway.database, secret))
    assert [table for table, _ in mentions(gateway.database, response_id)] == ["store_response"]
    [(deleted_at,)] = gateway.database.query(
        "SELECT deleted_at FROM store_response WHERE id = %s", response_id
    )
    assert deleted_at is not None
    path = f"/v1/responses/{response_id}"
    assert gateway.http.get(path).status_code == 404
    assert gateway.http.get(f"{path}/input_items").status_code == 404
    assert gateway.http.delete(path).status_code == 404


def test_a_chain_through_a_deleted_response_is_refused(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    first = create(gateway)["id"]
    second = create(gateway, previous_response_id=first)["id"]
    third = create(gateway, previous_response_id=second)["id"]
    branch = create(gateway, previous_response_id=first)["id"]
    delete(gateway, second)
    asked = len(vllm.requests)
    assert_refused(gateway, second)
    assert_refused(gateway, third)
    assert len(vllm.requests) == asked
    assert retrieve(gateway, third)["id"] == third
    create(gateway, previous_response_id=branch)


def test_a_run_that_is_deleted_meanwhile_is_not_stored_again(
    gateway: Gateway, vllm: ScriptedVLLM, secret: str
) -> None:
    go_on = threading.Event()
    vllm.script(text(secret) + pause(go_on) + text("B"))
    stream = Stream(gateway, input=secret)
    response_id = stream.begun()
    eventually(lambda: row_of(gateway.database, response_id))
    delete(gateway, response_id)
    assert status_of(gateway.database, response_id) == "cancelled"
    go_on.set()
    response = stream.end()
    assert (response["status"], response["error"]["code"]) == ("failed", "response_deleted")
    assert not list(mentions(gateway.database, secret))
    assert status_of(gateway.database, response_id) == "cancelled"
