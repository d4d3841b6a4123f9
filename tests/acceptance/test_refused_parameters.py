"""Parameters of a create request that are refused, each by its name."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.acceptance.exchanges import refused
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM

Json = dict[str, Any]

STOP: Json = {"type": "function", "name": "stop"}
NAMED: Json = {"type": "function", "name": "go"}


def said(content: object) -> Json:
    return {"input": [{"role": "user", "content": content}]}


def formatted(**form: object) -> Json:
    return {"text": {"format": form}}


UNKNOWN: list[tuple[Json, str]] = [
    ({"top_q": 5}, "top_q"),
    ({"messages": []}, "messages"),
    ({"kv_transfer_params": {}}, "kv_transfer_params"),
    ({"chat_template": "x"}, "chat_template"),
    ({"reasoning": {"efort": "low"}}, "reasoning.efort"),
    ({"tools": [{**STOP, "strickt": True}]}, "tools[0].strickt"),
    ({"stream": True, "stream_options": {"include_usage": True}}, "stream_options.include_usage"),
]
MISSING: list[tuple[Json, str]] = [
    ({"input": None}, "input"),
    ({"input": [{"role": "user"}]}, "input[0].content"),
    ({"input": [{"content": "Hi"}]}, "input[0].role"),
    (said([{"text": "Hi"}]), "input[0].content[0].type"),
    ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
    ({"input": [{"type": "item_reference"}]}, "input[0].id"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ({"tools": [{"name": "stop"}]}, "tools[0].type"),
    ({"tools": [{"type": "function", "function": {"name": "stop"}}]}, "tools[0].name"),
    (formatted(type="json_schema"), "text.format.name"),
]
MISTYPED: list[tuple[Json, str]] = [
    ({"input": 5}, "input"),
    ({"input": [1]}, "input[0]"),
    (said(None), "input[0].content"),
    ({"instructions": ["Be kind."]}, "instructions"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"max_output_tokens": 1.5}, "max_output_tokens"),
    ({"max_output_tokens": "many"}, "max_output_tokens"),
    ({"metadata": {"a": 1}}, "metadata.a"),
    ({"stream": "yes"}, "stream"),
    ({"store": 1}, "store"),
    ({"tools": {}}, "tools"),
    ({"tools": ["stop"]}, "tools[0]"),
    ({"include": "everything"}, "include"),
    ({"model": 7}, "model"),
    ({"previous_response_id": 7}, "previous_response_id"),
]
INVALID: list[tuple[Json, str]] = [
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": -0.1}, "temperature"),
    ({"top_p": 1.1}, "top_p"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"metadata": {str(n): "x" for n in range(17)}}, "metadata"),
    ({"input": [{"role": "robot", "content": "Hi"}]}, "input[0].role"),
    ({"tools": [{"type": "function", "name": "two words"}]}, "tools[0].name"),
    ({"tools": [STOP, STOP]}, "tools"),
    ({"tools": [STOP], "tool_choice": NAMED}, "tool_choice"),
    ({"tool_choice": NAMED}, "tool_choice"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": "sometimes"}, "tool_choice"),
    (formatted(type="json_schema", name="two words", schema={}), "text.format.name"),
    ({"reasoning": {"effort": "extreme"}}, "reasoning.effort"),
    ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
    ({"model": ""}, "model"),
    ({"model": "a\0"}, "model"),
    ({"previous_response_id": "a\0"}, "previous_response_id"),
    ({"input": [{"role": "user", "content": "Hi", "id": "a\0"}]}, "input[0].id"),
]
TOO_LONG: list[tuple[Json, str]] = [
    ({"input": "x" * 10_485_761}, "input"),
    ({"metadata": {"a": "x" * 513}}, "metadata.a"),
    ({"metadata": {"a" * 65: "x"}}, f"metadata.{'a' * 65}"),
    ({"safety_identifier": "x" * 129}, "safety_identifier"),
    ({"model": "x" * 513}, "model"),
    ({"previous_response_id": "x" * 129}, "previous_response_id"),
    (
        {"input": [{"type": "function_call_output", "call_id": "x" * 65, "output": ""}]},
        "input[0].call_id",
    ),
]
UNSUPPORTED_VALUE: list[tuple[Json, str]] = [
    ({"tools": [STOP], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
    ({"include": ["everything"]}, "include"),
    (said([{"type": "input_audio", "data": "x"}]), "input[0].content[0].type"),
    ({"input": [{"type": "computer_call"}]}, "input[0].type"),
    ({"tools": [{"type": "no_such_tool"}]}, "tools[0].type"),
    ({"tools": [STOP], "tool_choice": {"type": "no_such_tool"}}, "tool_choice.type"),
    (formatted(type="xml"), "text.format.type"),
]
UNSUPPORTED_PARAMETER: list[tuple[Json, str]] = [
    ({"background": True}, "background"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"tools": [{**STOP, "async": True}]}, "tools[0].async"),
]
CASES = [
    pytest.param(body, code, param, id=f"{code}-{position}")
    for code, cases in (
        ("unknown_parameter", UNKNOWN),
        ("missing_required_parameter", MISSING),
        ("invalid_type", MISTYPED),
        ("invalid_value", INVALID),
        ("string_above_max_length", TOO_LONG),
        ("unsupported_value", UNSUPPORTED_VALUE),
        ("unsupported_parameter", UNSUPPORTED_PARAMETER),
    )
    for position, (body, param) in enumerate(cases)
]


@pytest.mark.parametrize(("body", "code", "param"), CASES)
def test_it_is_named_and_the_upstream_is_not_asked(
    gateway: Gateway, vllm: ScriptedVLLM, body: Json, code: str, param: str
) -> None:
    answer = gateway.http.post("/v1/responses", json={"model": "tiny", "input": "Hi"} | body)
    refused(answer, 400, code=code, param=param)
    assert vllm.requests == []


def test_the_same_holds_for_streams(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    body = {"model": "tiny", "input": "Hi", "stream": True, "temperature": 3}
    refused(
        gateway.http.post("/v1/responses", json=body),
        400,
        code="invalid_value",
        param="temperature",
    )
    assert vllm.requests == []


def test_the_official_client_tells_what_is_wrong(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="tiny", input="Hi", extra_body={"top_q": 5})
    error = caught.value
    assert (error.code, error.param, error.type) == (
        "unknown_parameter",
        "top_q",
        "invalid_request_error",
    )
    assert "Unknown parameter: 'top_q'." in error.message
    assert error.request_id is not None
    assert error.request_id.startswith("req_")
