"""Messages and whole histories in every form in which clients send them. The shapes are those of
the clients named.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.exchanges import WEATHER, create, messages
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, calls, reasoning, text

Json = dict[str, Any]

# --- Roles and contents ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "seen"),
    [
        ({"role": "user", "content": "Hi"}, {"role": "user", "content": "Hi"}),
        (
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {"role": "user", "content": "Hi"},
        ),
        (
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "One"},
                    {"type": "input_text", "text": "Two"},
                ],
            },
            {
                "role": "user",
                "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}],
            },
        ),
        ({"role": "assistant", "content": "Yes"}, {"role": "assistant", "content": "Yes"}),
        (
            {"role": "assistant", "content": [{"type": "input_text", "text": "Yes"}]},
            {"role": "assistant", "content": "Yes"},
        ),
        (
            {
                "type": "message",
                "id": "msg_1",
                "role": "assistant",
                "status": "completed",
                "phase": "final_answer",
                "content": [
                    {"type": "output_text", "text": "Yes", "annotations": [], "logprobs": None},
                    {"type": "refusal", "refusal": ", no"},
                ],
            },
            {"role": "assistant", "content": "Yes, no"},
        ),
        (
            {
                "id": "msg_1",
                "role": "assistant",
                "status": None,
                "type": "message",
                "content": [
                    {"type": "output_text", "text": "Yes", "annotations": [], "parsed": {"a": 1}}
                ],
            },
            {"role": "assistant", "content": "Yes"},
        ),
        ({"role": "system", "content": "Rule"}, {"role": "system", "content": "Rule"}),
        ({"role": "developer", "content": "Rule"}, {"role": "system", "content": "Rule"}),
    ],
)
def test_every_way_to_write_a_message(
    gateway: Gateway, vllm: ScriptedVLLM, item: Json, seen: Json
) -> None:
    create(gateway, input=[item, {"role": "user", "content": "Go on"}])
    assert messages(vllm) == [seen, {"role": "user", "content": "Go on"}]


def test_rules_anywhere_become_one_leading_system_message(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    create(
        gateway,
        instructions="One.",
        input=[
            {"role": "developer", "content": "Two."},
            {"role": "user", "content": "Hi"},
            {"role": "system", "content": [{"type": "input_text", "text": "Three."}]},
            {"role": "user", "content": "There"},
        ],
    )
    assert messages(vllm) == [
        {"role": "system", "content": "One.\n\nTwo.\n\nThree."},
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": "There"},
    ]


# --- Whole histories, as stateless clients send them ----------------------------------------------


def call(call_id: str, arguments: str = '{"city": "Paris"}', **more: Any) -> Json:
    item = {"type": "function_call", "call_id": call_id, "name": "get_weather"}
    return {**item, "arguments": arguments, **more}


def output(call_id: str, words: object, **more: Any) -> Json:
    return {"type": "function_call_output", "call_id": call_id, "output": words, **more}


def seen_call(call_id: str, arguments: str = '{"city": "Paris"}') -> Json:
    function = {"name": "get_weather", "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


HISTORIES: dict[str, list[Json]] = {
    "LangChain": [
        {"type": "message", "role": "user", "content": "Weather?"},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Wait.", "annotations": []}],
            "id": "msg_1",
        },
        call("call_1", id="fc_1"),
        call("call_2", id="fc_2"),
        output("call_1", "sunny"),
        output("call_2", "rain"),
    ],
    "Agents SDK": [
        {"role": "user", "content": "Weather?"},
        {
            "id": "msg_1",
            "content": [
                {"annotations": [], "text": "Wait.", "type": "output_text", "logprobs": []}
            ],
            "role": "assistant",
            "status": "completed",
            "type": "message",
        },
        call("call_1", id="fc_1", status="completed"),
        call("call_2", id="fc_2", status="completed", parsed_arguments={"city": "Paris"}),
        output("call_1", "sunny"),
        output("call_2", "rain"),
    ],
    "Codex": [
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Wait."}]},
        call("call_1", namespace=None),
        call("call_2"),
        output("call_2", [{"type": "input_text", "text": "rain"}], id="fco_2"),
        output("call_1", "sunny", id="fco_1"),
    ],
    "Vercel AI SDK": [
        {"role": "user", "content": [{"type": "input_text", "text": "Weather?"}]},
        {
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Wait."}],
            "id": "msg_1",
        },
        call("call_1", id="fc_1"),
        call("call_2", id="fc_2"),
        output("call_1", "sunny"),
        output("call_2", "rain"),
    ],
}


@pytest.mark.parametrize("name", HISTORIES)
def test_a_history_becomes_one_message_with_its_calls(
    gateway: Gateway, vllm: ScriptedVLLM, name: str
) -> None:
    create(gateway, input=HISTORIES[name], tools=[WEATHER], store=False)
    assert messages(vllm) == [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "Wait.",
            "tool_calls": [seen_call("call_1"), seen_call("call_2")],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        {"role": "tool", "tool_call_id": "call_2", "content": "rain"},
    ]


@pytest.mark.parametrize(
    ("item", "thought"),
    [
        ({"type": "reasoning", "summary": []}, None),
        ({"type": "reasoning", "id": "rs_1", "summary": [], "content": None}, None),
        (
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA=="},
            None,
        ),
        (
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "Thinking"}],
                "content": [{"type": "reasoning_text", "text": "Hm."}],
                "encrypted_content": None,
                "status": None,
            },
            "Hm.",
        ),
    ],
    ids=["bare", "null content", "foreign secret", "ours"],
)
def test_reasoning_of_any_origin_is_taken(
    gateway: Gateway, vllm: ScriptedVLLM, item: Json, thought: str | None
) -> None:
    create(
        gateway,
        input=[
            {"role": "user", "content": "Weather?"},
            item,
            call("call_1"),
            output("call_1", "sunny"),
        ],
    )
    spoken = messages(vllm)[1]
    assert spoken.get("reasoning") == thought
    assert spoken["tool_calls"] == [seen_call("call_1")]


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("", "{}"),
        ("  ", "{}"),
        ('{"city": "Paris"', '{"input":"{\\"city\\": \\"Paris\\""}'),
        ("[1]", '{"input":"[1]"}'),
        ("null", '{"input":"null"}'),
        ('{ "a":1 }', '{ "a":1 }'),
    ],
)
def test_arguments_in_a_history_are_objects_for_the_upstream(
    gateway: Gateway, vllm: ScriptedVLLM, written: str, sent: str
) -> None:
    asked = [{"role": "user", "content": "x"}, call("c", written), output("c", "y")]
    create(gateway, input=asked)
    assert messages(vllm)[1]["tool_calls"] == [seen_call("c", sent)]


def test_what_was_answered_can_be_sent_back_as_it_is(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(
        reasoning("Hm.") + text("\n\n", "Wait.") + calls(("get_weather", {"city": "Paris"})),
        text("Sunny."),
        text("Bye."),
    )
    history: list[Json] = [{"role": "user", "content": "Weather?"}]
    first = create(gateway, input=history, tools=[WEATHER], store=False)
    history += first["output"]
    history += [output(first["output"][2]["call_id"], "sunny")]
    second = create(gateway, input=history, tools=[WEATHER], store=False)
    history += [*second["output"], {"role": "user", "content": "Bye"}]
    create(gateway, input=history, tools=[WEATHER], store=False)
    assert [message["role"] for message in messages(vllm)] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]
    assert messages(vllm)[1]["reasoning"] == "Hm."


def test_a_large_first_request(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    rules = "Be kind. " * 20_000
    tools = [{**WEATHER, "name": f"tool_{number}"} for number in range(128)]
    create(gateway, input=[{"role": "developer", "content": rules}], tools=tools)
    assert messages(vllm) == [{"role": "system", "content": rules}]
    assert len(vllm.requests[-1].body["tools"]) == 128
