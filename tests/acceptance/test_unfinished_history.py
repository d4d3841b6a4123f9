"""Continuing what was cut, failed or filtered: half-written calls are left out."""

from __future__ import annotations

from typing import Any

from tests.acceptance.exchanges import broken_off, create, refused, stream
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, calls, reasoning, text, tool_call

Json = dict[str, Any]

TOOLS: list[Json] = [{"type": "function", "name": "get_time"}]


def continued(gateway: Gateway, vllm: ScriptedVLLM, response: Json, *items: Json) -> list[Json]:
    """What the upstream sees of a continuation."""
    create(
        gateway,
        input=[*items, {"role": "user", "content": "Go on"}],
        previous_response_id=response["id"],
    )
    messages: list[Json] = vllm.requests[-1].body["messages"]
    return messages


def test_a_text_that_was_cut_is_seen_as_far_as_it_came(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(text("One two", finish_reason="length", finish_with_last=True))
    cut = create(stateful_gateway, max_output_tokens=2)
    assert continued(stateful_gateway, vllm, cut) == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "One two"},
        {"role": "user", "content": "Go on"},
    ]


def test_a_call_that_was_cut_is_left_out(stateful_gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(text("Wait.") + tool_call("get_time", '{"zo', finish_reason="length"))
    cut = stream(stateful_gateway, tools=TOOLS, max_output_tokens=4)[-1]["response"]
    assert continued(stateful_gateway, vllm, cut) == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Wait."},
        {"role": "user", "content": "Go on"},
    ]


def test_whole_calls_beside_one_that_was_cut_may_be_answered_or_not(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    both = calls(("get_time", {})) + tool_call("get_time", '{"zo', finish_reason="length")
    vllm.script(both)
    cut = create(stateful_gateway, tools=TOOLS)
    assert [m["role"] for m in continued(stateful_gateway, vllm, cut)] == ["user", "user"]
    whole = cut["output"][0]
    output = {"type": "function_call_output", "call_id": whole["call_id"], "output": "noon"}
    roles = [m["role"] for m in continued(stateful_gateway, vllm, cut, output)]
    assert roles == ["user", "assistant", "tool", "user"]


def test_a_failed_response_keeps_what_was_said(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    broken = broken_off(stateful_gateway, vllm, reasoning("Hm") + text("\n\n", "Half ", "LAST"))
    assert continued(stateful_gateway, vllm, broken) == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Half LAST", "reasoning": "Hm"},
        {"role": "user", "content": "Go on"},
    ]


def test_calls_of_a_failed_response_are_left_out(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    reply = tool_call("get_time", "{}") + tool_call("get_time", '{"LAST')
    broken = broken_off(stateful_gateway, vllm, reply, tools=TOOLS)
    assert [item["status"] for item in broken["output"]] == ["completed", "incomplete"]
    assert [m["role"] for m in continued(stateful_gateway, vllm, broken)] == ["user", "user"]


def test_a_completed_response_wants_its_calls_answered_in_whatever_follows(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(calls(("get_time", {})))
    open_call = create(stateful_gateway, tools=TOOLS)
    asked = {"model": "tiny", "input": "Go on", "previous_response_id": open_call["id"]}
    answer = stateful_gateway.http.post("/v1/responses", json=asked)
    message = refused(answer, 400, code="invalid_value", param="input")
    assert message == (
        f"No tool output found for function call {open_call['output'][0]['call_id']}."
    )


def test_a_failed_response_may_be_asked_again_from_its_parent(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    parent = create(stateful_gateway, input="Root")
    broken_off(stateful_gateway, vllm, text("LAST"), previous_response_id=parent["id"])
    again = create(stateful_gateway, previous_response_id=parent["id"])
    assert again["status"] == "completed"
    assert [m["content"] for m in vllm.requests[-1].body["messages"]] == ["Root", "Hello!", "Hi"]
