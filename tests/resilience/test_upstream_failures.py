"""Whatever the upstream does, a client hears of exactly one end, and the row says the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway import Database, Gateway, sqlite_database
from tests.programs import eventually
from tests.resilience.faults import CHUNKS, HASTE, SMALL
from tests.resilience.rows import Row, row_of, row_of_request
from tests.resilience.streams import ROLL, Request, Stream, retrieve
from tests.scripted_vllm import (
    Reply,
    ScriptedVLLM,
    body,
    calls,
    failure,
    garbage,
    pause,
    reasoning,
    text,
    tool_call,
)
from tests.tcp_proxy import TcpProxy

BROKEN = ("failed", "stream", "server_error", None)
LATE = ("failed", "stream", "upstream_timeout", None)


@pytest.fixture(scope="module")
def hasty(network: TcpProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway that does not wait long for its upstream."""
    folder = tmp_path_factory.mktemp("hasty")
    database = sqlite_database(folder)
    running = Gateway(
        database, folder, upstream=network.url, settings=HASTE | {"STATUS_WINDOW": 0.2}
    )
    yield running
    running.close()


@pytest.fixture
def database(hasty: Gateway) -> Database:
    return hasty.database


def row(database: Database, response: dict[str, Any]) -> Row:
    found = row_of(database, response["id"])
    assert found is not None
    return found


def fails(hasty: Gateway, database: Database, expected: tuple[Any, ...], **fields: Any) -> None:
    """A stream fails, and everybody is told the same."""
    response = Stream(hasty, **fields).end()
    assert (response["status"], response["error"]["code"]) == ("failed", expected[2])
    assert row(database, response).failure == expected
    assert retrieve(hasty, response["id"]) == response


# --- Cuts -----------------------------------------------------------------------------------------


def test_a_network_that_breaks_in_mid_stream_is_a_failed_response(
    hasty: Gateway,
    database: Database,
    vllm: ScriptedVLLM,
    network: TcpProxy,
    forever: threading.Event,
) -> None:
    vllm.script(text("A") + pause(forever))
    stream = Stream(hasty)
    stream.until("response.output_text.delta")
    network.cut()
    try:
        response = stream.end()
    finally:
        network.mend()
    assert row(database, response).failure == BROKEN
    assert response["output"][0]["content"][0]["text"] == "A"
    assert response["output"][0]["status"] == "incomplete"


# --- Silence --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "before",
    [text(), text("A"), reasoning("A"), tool_call("roll", '{"di')],
    ids=["nothing", "text", "reasoning", "half a call"],
)
def test_an_upstream_that_falls_silent_is_a_timeout(
    hasty: Gateway,
    database: Database,
    vllm: ScriptedVLLM,
    forever: threading.Event,
    before: Reply,
) -> None:
    vllm.script(before + pause(forever))
    fails(hasty, database, LATE, tools=[ROLL])
    assert vllm.requests[-1].aborted.wait(5)


def test_an_upstream_that_never_answers_is_a_timeout_after_the_headers(
    hasty: Gateway, database: Database, vllm: ScriptedVLLM, forever: threading.Event
) -> None:
    vllm.script(text("A", hang_before_headers=forever))
    fails(hasty, database, ("failed", "upstream", "upstream_timeout", None))
    assert vllm.requests[-1].aborted.wait(5)


def test_a_stream_without_end_is_ended(
    hasty: Gateway, database: Database, vllm: ScriptedVLLM
) -> None:
    vllm.script(text(*["A"] * 200, delay=0.05))
    fails(hasty, database, LATE)
    assert vllm.requests[-1].aborted.wait(5)


# --- Before the first byte ------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
def test_an_upstream_that_refuses_connections_is_503(
    hasty: Gateway, database: Database, network: TcpProxy, stream: bool
) -> None:
    network.cut()
    try:
        request = Request(hasty, stream=stream)
        assert (request.answer.status, request.answer.headers["Retry-After"]) == (503, "5")
    finally:
        network.mend()
    request_id = request.answer.headers["X-Request-Id"]
    assert request.json()["error"]["code"] == "upstream_unavailable"
    hidden(database, request_id, ("failed", "upstream", "upstream_unavailable", None))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("reply", "status", "code", "upstream_status"),
    [
        (failure(400, "No."), 400, "invalid_prompt", 400),
        (body({"error": "Unauthorized"}, status=401), 403, "upstream_unauthorized", 401),
        (body(b"", status=302), 404, "upstream_redirected", 302),
        (failure(404, "No such model."), 404, "model_not_found", 404),
        (failure(429, "Busy."), 429, "rate_limit_exceeded", 429),
        (failure(500, "The engine died."), 502, "server_error", 500),
        (failure(503, "Loading."), 503, "upstream_unavailable", 503),
        (garbage(), 502, "server_error", None),
        (body(b"<html>", status=502, content_type="text/html"), 502, "server_error", 502),
    ],
    ids=["400", "401", "302", "404", "429", "500", "503", "garbage", "page"],
)
def test_an_upstream_that_refuses_decides_the_status(
    hasty: Gateway,
    database: Database,
    vllm: ScriptedVLLM,
    stream: bool,
    reply: Reply,
    status: int,
    code: str,
    upstream_status: int | None,
) -> None:
    vllm.script(reply)
    request = Request(hasty, stream=stream)
    assert request.answer.status == status
    request_id = request.answer.headers["X-Request-Id"]
    assert request.json()["error"]["code"] == code
    hidden(database, request_id, ("failed", "upstream", code, upstream_status))


def hidden(database: Database, request_id: str, expected: tuple[Any, ...]) -> None:
    """Only operators see the run, and nothing of its content is kept."""
    found = eventually(lambda: row_of_request(database, request_id))
    assert (found.failure, bool(found.kept)) == (expected, False)
    assert not database.query("SELECT 1 FROM store_storeditem WHERE response_id = %s", found.id)


# --- Not streamed ---------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", range(CHUNKS))
def test_json_of_a_stream_cut_at_any_chunk_is_502(
    hasty: Gateway, database: Database, vllm: ScriptedVLLM, chunks: int
) -> None:
    vllm.script(SMALL.but(cut_after=chunks))
    assert_refused(hasty, database, 502, BROKEN, tools=[ROLL])


def test_json_of_a_body_that_is_cut_is_502(
    hasty: Gateway, database: Database, vllm: ScriptedVLLM
) -> None:
    vllm.script(text("Hello", cut_after=0))
    assert_refused(hasty, database, 502, BROKEN)


@pytest.mark.parametrize("wrong", [b"<html>", b"{}", b'{"choices": []}', b""])
def test_json_of_a_body_that_is_no_completion_is_502(
    hasty: Gateway, database: Database, vllm: ScriptedVLLM, wrong: bytes
) -> None:
    vllm.script(body(wrong))
    assert_refused(hasty, database, 502, BROKEN)


def test_json_of_an_upstream_that_never_answers_is_504(
    hasty: Gateway, database: Database, vllm: ScriptedVLLM, forever: threading.Event
) -> None:
    vllm.script(text("A", hang_before_headers=forever))
    request = Request(hasty)
    assert request.answer.status == 504
    assert request.json()["error"]["code"] == "upstream_timeout"
    assert vllm.requests[-1].aborted.wait(5)


def test_json_of_an_upstream_that_falls_silent_is_504(
    hasty: Gateway, database: Database, vllm: ScriptedVLLM, forever: threading.Event
) -> None:
    vllm.script(calls(("roll", {})) + pause(forever))
    assert_refused(hasty, database, 504, LATE, tools=[ROLL])


def assert_refused(
    hasty: Gateway, database: Database, status: int, expected: tuple[Any, ...], **fields: Any
) -> None:
    """The client gets an HTTP error; the row tells what happened."""
    request = Request(hasty, **fields)
    assert request.answer.status == status
    request_id = request.answer.headers["X-Request-Id"]
    assert request.json()["error"]["code"] == expected[2]
    found = row_of_request(database, request_id)
    assert found is not None
    assert found.failure == expected
