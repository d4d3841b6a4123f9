"""``Idempotency-Key``: a request that is sent again is answered again, not carried out again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.acceptance.calculator import calculating, declare
from tests.acceptance.guarded import Guarded, guarded
from tests.gateway import Gateway, postgres_database, sqlite_database
from tests.numbers import Numbers
from tests.programs import eventually
from tests.scripted_vllm import ScriptedVLLM, calls, failure, pause, text, tool_call
from tests.tools.mcp.servers import OnHttp
from tests.tools.mcp.wicked import Journal, wicked

Json = dict[str, Any]

KEY = "order 66"


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def place(
    request: pytest.FixtureRequest, vllm: ScriptedVLLM, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guarded]:
    """A gateway on each kind of database, of two projects, whose requests may bring servers."""
    folder = tmp_path_factory.mktemp("idempotency")
    settings = {"MCP_ALLOW_PRIVATE_NETWORKS": 1}
    if request.param == "sqlite":
        running = Gateway(sqlite_database(folder), folder, upstream=vllm.url, settings=settings)
        yield guarded(running, vllm)
        running.close()
        return
    with postgres_database(request.getfixturevalue("postgres_url")) as database:
        running = Gateway(database, folder, upstream=vllm.url, settings=settings)
        yield guarded(running, vllm)
        running.close()


@pytest.fixture(autouse=True)
def no_keys(place: Guarded) -> None:
    place.gateway.database.query("DELETE FROM store_idempotencykey")


@pytest.fixture
def client(place: Guarded) -> Iterator[openai.OpenAI]:
    with place.gateway.client(api_key=place.ours) as made:
        yield made


def create(client: openai.OpenAI, *, key: str = KEY, **fields: Any) -> Any:
    """As a user sends it. Gives the response, or the stream."""
    question: Any = {"model": "tiny", "input": "Hi"} | fields
    return client.responses.create(**question, extra_headers={"Idempotency-Key": key})


def conflict(client: openai.OpenAI, **fields: Any) -> openai.ConflictError:
    with pytest.raises(openai.ConflictError) as caught:
        create(client, **fields)
    return caught.value


def is_free(place: Guarded) -> bool:
    return not place.gateway.database.query("SELECT key FROM store_idempotencykey")


# --- Sent again -----------------------------------------------------------------------------------


def test_the_same_request_has_the_same_response(
    client: openai.OpenAI, place: Guarded, vllm: ScriptedVLLM
) -> None:
    vllm.script(text("Hello."))
    fields: Json = {"json": {"model": "tiny", "input": "Hi", "tools": [{"type": "web_search"}]}}
    fields["headers"] = {"Idempotency-Key": KEY}
    first = place.ask(place.ours, "POST", "/v1/responses", **fields)
    again = place.ask(place.colleague, "POST", "/v1/responses", **fields)
    assert again.status_code == 200, again.text
    assert again.json() == first.json()
    ignored = "x-gateway-ignored-tools"
    assert again.headers[ignored] == first.headers[ignored] == "web_search"
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert len(vllm.chats) == 1


def test_the_official_client_gets_the_response_again(
    client: openai.OpenAI, vllm: ScriptedVLLM
) -> None:
    vllm.script(text("One."), text("Two."))
    first = create(client)
    assert create(client) == first
    assert create(client, key="another").output_text == "Two."
    assert first.output_text == "One."


def test_another_body_is_a_conflict(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(text("One."))
    first = create(client)
    error = conflict(client, input="Bye")
    assert error.code == "idempotency_key_reused"
    assert first.id in error.message
    assert error.response.headers["x-should-retry"] == "false"
    assert len(vllm.chats) == 1


def test_the_key_of_another_project_is_another_key(
    client: openai.OpenAI, place: Guarded, vllm: ScriptedVLLM
) -> None:
    vllm.script(text("Ours."), text("Theirs."))
    assert create(client).output_text == "Ours."
    with place.gateway.client(api_key=place.theirs) as theirs:
        assert create(theirs).output_text == "Theirs."
        assert create(theirs).output_text == "Theirs."
    assert create(client).output_text == "Ours."


@pytest.mark.parametrize("key", ["", "k" * 256, "a\tb"])
def test_a_key_that_is_none_is_refused(client: openai.OpenAI, vllm: ScriptedVLLM, key: str) -> None:
    with pytest.raises(openai.BadRequestError, match="Idempotency-Key") as caught:
        create(client, key=key)
    assert caught.value.code == "invalid_value"
    assert not vllm.chats


def test_the_longest_key_counts(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(text("One."))
    assert create(client, key="k" * 255) == create(client, key="k" * 255)


# --- While it runs --------------------------------------------------------------------------------


def test_of_requests_at_once_one_runs(
    client: openai.OpenAI, place: Guarded, vllm: ScriptedVLLM
) -> None:
    go_on = threading.Event()
    vllm.script(text("Hello") + pause(go_on))
    number, start = 6, threading.Barrier(6)

    def ask() -> Any:
        start.wait()
        try:
            return create(client)
        except openai.ConflictError as exc:
            refused.release()
            return exc

    refused = threading.Semaphore(0)
    with ThreadPoolExecutor(number) as pool:
        asked = [pool.submit(ask) for _ in range(number)]
        for _ in range(number - 1):
            assert refused.acquire(timeout=30)
        go_on.set()
        answers = [future.result() for future in asked]
    [response] = [answer for answer in answers if not isinstance(answer, Exception)]
    for error in answers:
        if isinstance(error, openai.ConflictError):
            assert error.code == "idempotency_key_in_use"
            assert response.id in error.message
            assert error.response.headers["retry-after"] == "1"
    assert create(client) == response
    assert len(vllm.chats) == 1


def test_the_official_client_waits_for_the_end_by_itself(
    client: openai.OpenAI, place: Guarded, vllm: ScriptedVLLM
) -> None:
    def conflicts() -> float:
        labels = {"method": "POST", "route": "/v1/responses", "status": "409"}
        return Numbers(place.gateway.url)("http_requests_total", **labels)

    go_on, before = threading.Event(), conflicts()
    vllm.script(text("Hello") + pause(go_on))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(create, client)
        vllm.wait_for_requests(1)
        second = pool.submit(create, client.with_options(max_retries=5))
        eventually(lambda: conflicts() > before)
        go_on.set()
        assert second.result() == first.result()


# --- What cannot be told again --------------------------------------------------------------------


def test_a_stream_is_not_told_again(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(text("Hello."))
    events = list(create(client, stream=True))
    error = conflict(client, stream=True)
    assert error.code == "idempotency_key_in_use"
    assert f"GET /v1/responses/{events[0].response.id}" in error.message
    assert error.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("way", ["not stored", "deleted"])
def test_what_is_not_there_is_not_told_again(
    client: openai.OpenAI, place: Guarded, vllm: ScriptedVLLM, way: str
) -> None:
    vllm.script(text("Hello."))
    first = create(client, store=way == "deleted")
    if way == "deleted":
        client.responses.delete(first.id)
    else:  # its row is written after the answer
        row = "SELECT status FROM store_response WHERE id = %s"
        eventually(lambda: place.gateway.database.query(row, first.id) == [("completed",)])
    error = conflict(client, store=way == "deleted")
    assert error.code == "idempotency_key_in_use"
    assert first.id in error.message
    assert error.response.headers["x-should-retry"] == "false"


# --- Released -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 500])
def test_a_request_that_ended_in_an_error_may_be_sent_again(
    client: openai.OpenAI, vllm: ScriptedVLLM, status: int, stream: bool
) -> None:
    vllm.script(failure(status, "No."))
    with pytest.raises(openai.APIStatusError) as caught:
        create(client, stream=stream)
    assert caught.value.status_code != 409
    vllm.script(text("Hello."))
    answer = create(client, stream=stream)
    response = list(answer)[-1].response if stream else answer
    assert response.status == "completed"


def test_a_run_that_broke_may_be_sent_again(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    fields: Json = {"tools": [{"type": "function", "name": "f", "parameters": {}}]}
    vllm.script(text("Hel").but(cut_after=2))
    with pytest.raises(openai.InternalServerError):
        create(client, **fields)
    vllm.script(text("Hello."))
    assert create(client, **fields).output_text == "Hello."


def test_what_was_refused_before_it_ran_may_be_sent_again(client: openai.OpenAI) -> None:
    for _ in range(2):
        with pytest.raises(openai.BadRequestError) as caught:
            create(client, previous_response_id="resp_none")
        assert caught.value.code == "previous_response_not_found"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_left_may_send_it_again(
    place: Guarded, client: openai.OpenAI, vllm: ScriptedVLLM, stream: bool
) -> None:
    forever = threading.Event()
    vllm.script(text("Hel") + pause(forever))
    with pytest.raises(openai.APITimeoutError):
        for _ in create(client.with_options(timeout=1), stream=stream):
            pass
    eventually(lambda: is_free(place))
    forever.set()
    vllm.script(text("Hello."))
    answer = create(client, stream=stream)
    response = list(answer)[-1].response if stream else answer
    assert response.output_text == "Hello."


# --- Tools that have acted ------------------------------------------------------------------------


def test_a_call_that_the_client_left_is_not_made_again(
    client: openai.OpenAI, place: Guarded, vllm: ScriptedVLLM, tmp_path: Path
) -> None:
    journal = Journal(tmp_path / "journal")
    vllm.script(tool_call("calc__hang", "{}"))
    with OnHttp(wicked(journal).streamable_http_app()) as server:
        tools = [declare(server)]
        with ThreadPoolExecutor(1) as pool:
            left = pool.submit(create, client.with_options(timeout=3), tools=tools)
            eventually(lambda: "hang begins" in journal)
            with pytest.raises(openai.APITimeoutError):
                left.result()
        eventually(lambda: "hang ends" in journal)
        ended = "SELECT 1 FROM store_response WHERE status = 'cancelled' AND id = %s"
        key = "SELECT response_id FROM store_idempotencykey"
        [(response_id,)] = place.gateway.database.query(key)
        eventually(lambda: place.gateway.database.query(ended, response_id))
        again = create(client, tools=tools)
    assert (again.id, again.status) == (response_id, "cancelled")
    assert journal.path.read_text().splitlines().count("hang begins") == 1
    assert len(vllm.chats) == 1


def test_a_call_before_an_error_is_not_made_again(
    client: openai.OpenAI, vllm: ScriptedVLLM
) -> None:
    vllm.script(calls(("calc__add", {"a": 2, "b": 3})), failure(500, "No."))
    with OnHttp(calculating().streamable_http_app()) as server:
        tools = [declare(server)]
        with pytest.raises(openai.InternalServerError):
            create(client, tools=tools)
        asked = len(vllm.chats)
        again = create(client, tools=tools)
    assert again.status == "failed"
    assert [item.type for item in again.output] == ["mcp_list_tools", "mcp_call"]
    assert again.output[1].output == "5"
    assert len(vllm.chats) == asked
