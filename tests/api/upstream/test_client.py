"""The connection to the upstream: what is sent, what is read, which connections are made."""

from __future__ import annotations

import asyncio
import threading

import pytest
from pytest_django.fixtures import Settings

from apps.api.protocol.deltas import (
    Finish,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    TurnEnd,
    TurnUsage,
)
from apps.api.upstream.client import base_url
from apps.api.upstream.errors import (
    UpstreamRefused,
)
from tests.api.upstream.turns import (
    all_aborted,
    ask,
    in_loop,
    opened,
    read_all,
    text_of,
)
from tests.scripted_vllm import (
    ScriptedVLLM,
    Usage,
    failure,
    pause,
    raw,
    reasoning,
    recorded,
    text,
    tool_call,
)

STREAMED = [True, False]


# --- What is sent ---------------------------------------------------------------------------------


def test_a_turn_is_one_post_of_json(server: ScriptedVLLM) -> None:
    ask()
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["x-request-id"] == "req_1"
    assert "authorization" not in request.headers
    assert "cookie" not in request.headers
    assert request.body["messages"] == [{"role": "user", "content": "Hi"}]


def test_the_key_is_the_gateways_own(server: ScriptedVLLM, settings: Settings) -> None:
    settings.GATEWAY_UPSTREAM_API_KEY = "secret"
    ask()
    assert server.requests[0].headers["authorization"] == "Bearer secret"


def test_call_ids_have_the_form_of_the_models_family(
    server: ScriptedVLLM, settings: Settings
) -> None:
    call = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "a", "output": "ok"}
    ask(model="kimi-k2", items=[call, output])
    settings.GATEWAY_CALL_ID_STYLE = "plain"
    ask(model="kimi-k2", items=[call, output])
    sent = [request.body["messages"][1]["tool_call_id"] for request in server.requests]
    assert sent == ["functions.f:0", "a"]


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
def test_the_url_may_end_in_v1_or_not(
    server: ScriptedVLLM, settings: Settings, suffix: str
) -> None:
    settings.GATEWAY_UPSTREAM_URL = server.url + suffix
    assert base_url(server.url + suffix) == f"{server.url}/v1"
    assert ask()[1] is None
    assert server.requests[0].path == "/v1/chat/completions"


def test_a_url_with_a_path_keeps_it() -> None:
    assert base_url("http://a/llm") == "http://a/llm/v1"


# --- What is read ---------------------------------------------------------------------------------


def test_a_stream_is_read_to_its_end(server: ScriptedVLLM) -> None:
    server.script(
        reasoning("Hm.") + text("Hel", "lo") + tool_call("f", "{", "}", usage=Usage(5, 9, 4, 1))
    )
    deltas, failed = ask()
    assert failed is None
    assert deltas == [
        ReasoningDelta("Hm."),
        TextDelta("Hel"),
        TextDelta("lo"),
        ToolCallStart(0, "f"),
        ToolCallArguments(0, "{"),
        ToolCallArguments(0, "}"),
        TurnEnd(Finish.STOP, TurnUsage(5, 4, 9, 1)),
    ]


def test_a_whole_answer_is_read_at_once(server: ScriptedVLLM) -> None:
    server.script(text("Hel", "lo", usage=Usage(5, 9)))
    deltas, failed = ask(stream=False)
    assert failed is None
    assert deltas == [TextDelta("Hello"), TurnEnd(Finish.STOP, TurnUsage(5, 0, 9, 0))]


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_how_the_network_cuts_a_stream_makes_no_difference(server: ScriptedVLLM, size: int) -> None:
    server.script(text("Hé", "llo 😀", chunk_bytes=size))
    deltas, failed = ask()
    assert failed is None
    assert text_of(deltas) == "Héllo 😀"


def test_deltas_that_arrive_together_are_read_together(server: ScriptedVLLM) -> None:
    server.script(text("a", "b", "c", one_write=True))

    async def scenario() -> int:
        turn = await opened()
        read = await turn.read()
        await turn.close()
        return len(read or ())

    assert in_loop(scenario) == 4


@pytest.mark.parametrize("case", ["chat/stream_tool_parallel", "chat/text_reasoning"])
def test_a_recording_is_read(server: ScriptedVLLM, case: str) -> None:
    server.script(recorded(case))
    deltas, failed = ask(stream="stream" in case)
    assert failed is None
    assert isinstance(deltas[-1], TurnEnd)


def test_a_stream_without_done_is_complete_when_it_told_its_end(server: ScriptedVLLM) -> None:
    server.script(text("Hello", no_done=True))
    deltas, failed = ask()
    assert failed is None
    assert isinstance(deltas[-1], TurnEnd)


def test_what_follows_done_is_not_read(server: ScriptedVLLM) -> None:
    server.script(recorded("chat/stream") + raw(b"data: {broken\n\n"))
    deltas, failed = ask()
    assert failed is None
    assert text_of(deltas) == "Hello!"


def test_after_its_end_a_turn_gives_nothing(server: ScriptedVLLM) -> None:
    async def scenario() -> None:
        turn = await opened()
        await read_all(turn)
        assert await turn.read() is None

    in_loop(scenario)


# --- Connections ----------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", STREAMED)
def test_turns_one_after_another_share_a_connection(
    server: ScriptedVLLM, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setattr("apps.api.upstream.client.END_OF_BODY", 30.0)  # however busy the machine

    async def scenario() -> None:
        for _ in range(5):
            deltas, failed = await read_all(await opened(stream=stream))
            assert failed is None
            assert text_of(deltas) == "Hello!"

    in_loop(scenario)
    assert len(server.requests) == 5
    assert server.connections == 1


WHOLE = (
    b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)


def test_a_body_that_ends_after_its_last_event_leaves_the_connection(
    server: ScriptedVLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.api.upstream.client.END_OF_BODY", 30.0)
    end = threading.Event()
    server.script(raw(WHOLE, bare=True) + pause(end))

    async def scenario() -> None:
        turn = await opened()
        while await turn.read() is not None:
            pass
        closing = asyncio.create_task(turn.close())
        await asyncio.sleep(0)
        assert not closing.done(), "it waits for the end"
        end.set()
        await closing
        await read_all(await opened())

    in_loop(scenario)
    assert server.connections == 1


def test_a_body_that_does_not_end_costs_the_connection_and_no_more(
    server: ScriptedVLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.api.upstream.client.END_OF_BODY", 0.05)
    server.script(raw(WHOLE, bare=True) + pause(threading.Event()))

    async def scenario() -> None:
        deltas, failed = await read_all(await opened())
        assert (text_of(deltas), failed) == ("a", None)
        await read_all(await opened())

    in_loop(scenario)
    assert server.connections == 2


def test_an_error_does_not_cost_the_connection(server: ScriptedVLLM) -> None:
    server.script(failure(400, "No."))

    async def scenario() -> None:
        with pytest.raises(UpstreamRefused):
            await opened()
        await read_all(await opened())

    in_loop(scenario)
    assert server.connections == 1


def test_turns_at_the_same_time_have_connections_of_their_own(server: ScriptedVLLM) -> None:
    go = threading.Event()
    server.script(*[text("a") + pause(go) + text("b")] * 3)

    async def scenario() -> list[str]:
        turns = [await opened() for _ in range(3)]
        go.set()
        return [text_of((await read_all(turn))[0]) for turn in turns]

    assert in_loop(scenario) == ["ab", "ab", "ab"]
    assert server.connections == 3


def test_closing_a_turn_stops_the_upstream(server: ScriptedVLLM) -> None:
    server.script(text("a") + pause(threading.Event()))

    async def scenario() -> None:
        turn = await opened()
        await turn.read()
        await turn.close()
        await asyncio.to_thread(server.wait_until, lambda: all_aborted(server))
        await turn.close()  # once more does no harm

    in_loop(scenario)


def test_cancelling_the_wait_for_an_answer_stops_the_upstream(server: ScriptedVLLM) -> None:
    server.script(text("a", hang_before_headers=threading.Event()))

    async def scenario() -> None:
        opening = asyncio.create_task(opened())
        await asyncio.to_thread(server.wait_for_requests, 1)
        opening.cancel()
        await asyncio.wait([opening])
        assert opening.cancelled()
        await asyncio.to_thread(server.wait_until, lambda: all_aborted(server))

    in_loop(scenario)
