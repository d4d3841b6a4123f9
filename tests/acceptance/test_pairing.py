"""Calls without outputs and outputs without calls are refused before the upstream is asked."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.exchanges import create, refused
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, calls, text

Json = dict[str, Any]

USER: Json = {"role": "user", "content": "Time?"}
TOOLS: list[Json] = [{"type": "function", "name": "get_time"}]


def call(call_id: str) -> Json:
    return {"type": "function_call", "call_id": call_id, "name": "get_time", "arguments": "{}"}


def output(call_id: str) -> Json:
    return {"type": "function_call_output", "call_id": call_id, "output": "noon"}


@pytest.mark.parametrize(
    ("items", "param", "message"),
    [
        (
            [USER, output("call_1")],
            "input[1]",
            "No tool call found for function call output with call_id call_1.",
        ),
        ([USER, call("call_1")], "input[1]", "No tool output found for function call call_1."),
        (
            [USER, call("call_1"), call("call_2"), output("call_2")],
            "input[1]",
            "No tool output found for function call call_1.",
        ),
        (
            [USER, call("call_1"), output("call_1"), output("call_1")],
            "input[3]",
            "No tool call found for function call output with call_id call_1.",
        ),
        (
            [USER, output("call_1"), call("call_1")],
            "input[1]",
            "No tool call found for function call output with call_id call_1.",
        ),
        (
            [USER, call("call_1"), call("call_1"), output("call_1")],
            "input[2]",
            "Two calls have the call_id 'call_1'.",
        ),
    ],
    ids=[
        "output alone",
        "call alone",
        "one of two unanswered",
        "answered twice",
        "answered before",
        "the same call twice",
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_what_does_not_match_is_refused(
    gateway: Gateway,
    vllm: ScriptedVLLM,
    items: list[Json],
    param: str,
    message: str,
    streamed: bool,
) -> None:
    asked = {"model": "tiny", "input": items, "tools": TOOLS, "stream": streamed}
    answer = gateway.http.post("/v1/responses", json=asked)
    assert refused(answer, 400, code="invalid_value", param=param) == message
    assert vllm.requests == []


def test_the_same_id_may_come_again_once_it_was_answered(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    create(gateway, input=[USER, call("c"), output("c"), call("c"), output("c")])
    roles = [message["role"] for message in vllm.requests[-1].body["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "tool"]


def test_half_written_calls_that_come_back_are_left_out(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    create(gateway, input=[USER, {**call("c"), "status": "incomplete"}, USER])
    assert [m["role"] for m in vllm.requests[-1].body["messages"]] == ["user", "user"]


def test_an_answer_in_the_chain_must_be_given(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(calls(("get_time", {}), ("get_time", {})))
    first = create(stateful_gateway, tools=TOOLS)
    one, two = (item["call_id"] for item in first["output"])
    before = len(vllm.requests)
    for answered in ([], [output(one)]):
        asked = {"model": "tiny", "input": [*answered, USER], "previous_response_id": first["id"]}
        answer = stateful_gateway.http.post("/v1/responses", json=asked)
        refused(answer, 400, code="invalid_value", param="input")
    assert len(vllm.requests) == before
    vllm.script(text("Noon."))
    done = create(
        stateful_gateway, input=[output(one), output(two)], previous_response_id=first["id"]
    )
    assert done["status"] == "completed"


def test_an_answer_to_a_call_of_another_chain_is_refused(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(calls(("get_time", {})))
    call_id = create(stateful_gateway, tools=TOOLS)["output"][0]["call_id"]
    other = create(stateful_gateway)
    asked = {
        "model": "tiny",
        "input": [output(call_id)],
        "previous_response_id": other["id"],
    }
    answer = stateful_gateway.http.post("/v1/responses", json=asked)
    refused(answer, 400, code="invalid_value", param="input[0]")
