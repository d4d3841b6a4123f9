"""Histories as frameworks send them back, each with its own idea of what an item must have."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, reasoning, text, tool_call

Json = dict[str, Any]

ARGUMENTS = '{"city": "Rome"}'
WEATHER: Json = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
TOLD = [
    {"role": "user", "content": "Weather?"},
    {
        "role": "assistant",
        "reasoning": "I look.",
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "get_weather", "arguments": ARGUMENTS},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    {"role": "assistant", "content": "It is sunny."},
    {"role": "user", "content": "Thanks."},
]
THOUGHT: Json = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "I look."}],
}
CALL: Json = {
    "type": "function_call",
    "call_id": "call_1",
    "name": "get_weather",
    "arguments": ARGUMENTS,
}
OUTPUT: Json = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
ANSWER: Json = {"type": "output_text", "text": "It is sunny."}


def post(gateway: Gateway, **body: Any) -> Json:
    answer = gateway.http.post("/v1/responses", json={"model": "tiny", **body})
    assert answer.status_code == 200, answer.text
    response: Json = answer.json()
    return response


HISTORIES: dict[str, list[Json]] = {
    "Agents SDK": [
        {"role": "user", "content": "Weather?"},
        THOUGHT | {"status": "completed"},
        CALL | {"id": "fc_1", "status": "completed"},
        OUTPUT,
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [ANSWER | {"annotations": [], "logprobs": []}],
        },
        {"role": "user", "content": "Thanks."},
    ],
    "LangChain": [
        {"type": "message", "role": "user", "content": "Weather?"},
        THOUGHT | {"status": "completed"},
        CALL | {"id": "fc_1"},
        OUTPUT,
        {"type": "message", "role": "assistant", "content": [ANSWER | {"annotations": []}]},
        {"type": "message", "role": "user", "content": "Thanks."},
    ],
    "Pydantic AI": [
        {"role": "user", "content": "Weather?"},
        THOUGHT | {"encrypted_content": None},
        CALL,
        OUTPUT,
        {"role": "assistant", "content": "It is sunny."},
        {"role": "user", "content": "Thanks."},
    ],
    "Vercel AI SDK": [
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        THOUGHT,
        CALL,
        OUTPUT,
        {"role": "assistant", "id": "msg_1", "content": [ANSWER]},
        {"role": "user", "content": [{"type": "input_text", "text": "Thanks."}]},
    ],
    "LiteLLM": [
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "Weather?"}],
        },
        THOUGHT | {"status": "completed", "encrypted_content": None},
        CALL | {"id": "fc_1", "status": "completed", "namespace": None},
        OUTPUT,
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "phase": None,
            "content": [ANSWER | {"annotations": [], "logprobs": []}],
        },
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Thanks."}]},
    ],
}


@pytest.mark.parametrize("sender", HISTORIES)
def test_a_history_means_the_same_whoever_sends_it(
    sender: str, gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(text("Bye."))
    post(gateway, input=HISTORIES[sender], tools=[WEATHER])
    assert vllm.chats[-1].body["messages"] == TOLD


@pytest.mark.parametrize(
    "left_of_it",
    [
        pytest.param({"status": "in_progress", "content": []}, id="LangChain, streaming"),
        pytest.param({}, id="Vercel AI SDK, llm"),
    ],
)
def test_of_sealed_reasoning_the_seal_is_enough(
    left_of_it: Json, gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(reasoning("I look.") + tool_call("get_weather", ARGUMENTS), text("Sunny."))
    carried = {"store": False, "include": ["reasoning.encrypted_content"]}
    asked = {"role": "user", "content": "Weather?"}
    thought, call = post(gateway, input=[asked], tools=[WEATHER], **carried)["output"]
    kept = {name: thought[name] for name in ("type", "id", "summary", "encrypted_content")}
    output = OUTPUT | {"call_id": call["call_id"]}
    history = [asked, kept | left_of_it, call, output]
    post(gateway, input=history, tools=[WEATHER], **carried)
    assert vllm.chats[-1].body["messages"][1]["reasoning"] == "I look."


def test_stored_items_are_referred_to(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    """As the Vercel AI SDK does unless it is told that nothing is stored."""
    vllm.script(reasoning("I look.") + tool_call("get_weather", ARGUMENTS), text("Sunny."))
    asked = {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]}
    thought, call = post(gateway, input=[asked], tools=[WEATHER])["output"]
    output = OUTPUT | {"call_id": call["call_id"]}
    referred = {"type": "item_reference", "id": thought["id"]}
    spelt_out = CALL | {"call_id": call["call_id"]}
    post(gateway, input=[asked, referred, spelt_out, output], tools=[WEATHER])
    assistant = vllm.chats[-1].body["messages"][1]
    assert assistant["reasoning"] == "I look."
    assert assistant["tool_calls"][0]["id"] == call["call_id"]


def test_explicit_nulls_ask_for_nothing(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    """As LlamaIndex sends them."""
    vllm.script(text("Hi."))
    nulls = dict.fromkeys(
        ["include", "instructions", "max_output_tokens", "metadata", "previous_response_id", "user"]
    )
    post(
        gateway,
        input=[{"role": "user", "content": "Hi"}],
        store=False,
        stream=False,
        temperature=0.1,
        tools=[],
        top_p=1.0,
        truncation="disabled",
        **nulls,
    )
    assert vllm.chats[-1].body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
        "temperature": 0.1,
        "top_p": 1.0,
    }


def test_an_empty_text_asks_for_nothing(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    """As LangChain for JavaScript sends it."""
    vllm.script(text("Hi."))
    response = post(gateway, input="Hi", text={}, include=[])
    assert response["text"]["format"] == {"type": "text"}


@pytest.mark.parametrize("names", [{"call_id": "call_1"}, {"id": "call_1"}])
def test_the_output_of_a_local_shell_names_its_call(
    names: Json, gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    """The Agents SDK by ``call_id``; the API's description says ``id``."""
    vllm.script(text("Two files."))
    action: Json = {"type": "exec", "command": ["ls"], "env": {}, "timeout_ms": None, "user": None}
    call = {"type": "local_shell_call", "id": "lsh_1", "call_id": "call_1", "action": action}
    output = {"type": "local_shell_call_output", "output": "a b"} | names
    asked = {"role": "user", "content": "List."}
    post(gateway, input=[asked, call | {"status": "completed"}, output])
    assert vllm.chats[-1].body["messages"][-1] == {
        "role": "tool",
        "tool_call_id": "call_1",
        "content": "a b",
    }


def test_the_output_of_a_local_shell_has_to_name_its_call(gateway: Gateway) -> None:
    output = {"type": "local_shell_call_output", "output": "a b"}
    answer = gateway.http.post("/v1/responses", json={"model": "tiny", "input": [output]})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "missing_required_parameter"
