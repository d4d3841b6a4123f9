"""Function calls in responses without a stream: tools go up, calls come down."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai.types.responses import FunctionToolParam

from tests.acceptance.exchanges import create
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, calls, reasoning, text, tool_call

Json = dict[str, Any]

SCHEMA: Json = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Json = {"type": "function", "name": "get_weather", "parameters": SCHEMA}
STRICT: FunctionToolParam = {
    "type": "function",
    "name": "get_weather",
    "parameters": SCHEMA,
    "strict": True,
}


def test_a_call_has_the_id_that_its_output_will_name(
    client: openai.OpenAI, vllm: ScriptedVLLM
) -> None:
    vllm.script(tool_call("get_weather", '{"city": ', '"Paris"}'))
    response = client.responses.create(model="tiny", input="Weather in Paris?", tools=[STRICT])
    (call,) = response.output
    assert call.type == "function_call"
    assert (call.name, call.arguments, call.status) == (
        "get_weather",
        '{"city": "Paris"}',
        "completed",
    )
    assert call.id is not None
    assert call.id.startswith("fc_")
    assert call.call_id.startswith("call_")
    assert len(call.call_id) <= 64
    assert response.status == "completed"
    assert response.output_text == ""


def test_parallel_calls_are_items_in_order(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(calls(("get_weather", {"city": "Paris"}), ("get_weather", {"city": "Rome"})))
    response = client.responses.create(model="tiny", input="Weather?", tools=[STRICT])
    first, second = response.output
    assert first.type == second.type == "function_call"
    assert [json.loads(call.arguments)["city"] for call in (first, second)] == ["Paris", "Rome"]
    assert first.call_id != second.call_id


def test_calls_may_follow_reasoning_and_text(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(
        reasoning("I look.")
        + text("\n\n", "One moment.", "\n")
        + tool_call("get_weather", '{"city": "Paris"}')
    )
    response = create(gateway, tools=[WEATHER])
    assert [item["type"] for item in response["output"]] == [
        "reasoning",
        "message",
        "function_call",
    ]


def test_a_call_without_arguments_has_an_empty_object(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(tool_call("stop"))
    response = create(gateway, tools=[{"type": "function", "name": "stop"}])
    assert response["output"][0]["arguments"] == "{}"


def test_a_call_that_the_limit_cut_is_incomplete(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(tool_call("get_weather", '{"ci', finish_reason="length"))
    response = create(gateway, tools=[WEATHER], max_output_tokens=4)
    (call,) = response["output"]
    assert response["status"] == call["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert call["arguments"] == '{"ci'


def test_arguments_that_are_no_json_are_passed_on(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(tool_call("get_weather", "Paris!"))
    assert create(gateway, tools=[WEATHER])["output"][0]["arguments"] == "Paris!"


@pytest.mark.parametrize(
    ("tool", "function"),
    [
        (
            {**WEATHER, "strict": True, "description": "Tells it."},
            {
                "name": "get_weather",
                "parameters": SCHEMA,
                "description": "Tells it.",
                "strict": True,
            },
        ),
        (
            {**WEATHER, "strict": False},
            {"name": "get_weather", "parameters": SCHEMA, "strict": False},
        ),
        (WEATHER, {"name": "get_weather", "parameters": SCHEMA}),
        (
            {"type": "function", "name": "stop"},
            {"name": "stop", "parameters": {"type": "object", "properties": {}}},
        ),
        (
            {"type": "function", "name": "stop", "parameters": None, "strict": None},
            {"name": "stop", "parameters": {"type": "object", "properties": {}}},
        ),
    ],
    ids=["strict", "not strict", "unsaid", "without parameters", "null parameters"],
)
def test_the_upstream_gets_the_nested_form(
    gateway: Gateway, vllm: ScriptedVLLM, tool: Json, function: Json
) -> None:
    create(gateway, tools=[tool])
    assert vllm.requests[-1].body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
    }


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", "auto"),
        ("required", "required"),
        (
            {"type": "function", "name": "get_weather"},
            {"type": "function", "function": {"name": "get_weather"}},
        ),
    ],
    ids=["auto", "required", "named"],
)
def test_the_choice_reaches_the_upstream(
    gateway: Gateway, vllm: ScriptedVLLM, choice: object, sent: object
) -> None:
    vllm.script(tool_call("get_weather", '{"city": "Paris"}'))
    response = create(gateway, tools=[WEATHER], tool_choice=choice, parallel_tool_calls=False)
    assert response["tool_choice"] == choice
    assert response["output"][0]["type"] == "function_call"
    body = vllm.requests[-1].body
    assert (body["tool_choice"], body["parallel_tool_calls"]) == (sent, False)


def test_without_choice_the_model_does_not_see_the_tools(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    response = create(gateway, tools=[WEATHER], tool_choice="none")
    assert len(response["tools"]) == 1
    assert vllm.requests[-1].body.keys() == {"model", "messages", "stream"}
