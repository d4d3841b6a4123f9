"""Custom tools with grammars that the model may choose to call: an input that does not follow is never
shown, and the model is asked again under the grammar."""

from __future__ import annotations

from typing import Any

from tests.acceptance.exchanges import create, stream
from tests.acceptance.test_custom_grammars import LARK, QUERY, REGEX, SQL
from tests.gateway import Gateway
from tests.scripted_vllm import (
    ScriptedVLLM,
    Usage,
    calls,
    failure,
    reasoning,
    text,
    tool_call,
)

Json = dict[str, Any]

GOOD = tool_call("sql", f'{{"input": "{QUERY}"}}')
BAD = tool_call("sql", '{"input": "DROP ', 'TABLE users"}')


def inputs(response: Json) -> list[str]:
    return [item["input"] for item in response["output"] if item["type"] == "custom_tool_call"]


def test_an_input_that_follows_is_passed_on(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(text("I look.") + GOOD)
    response = create(gateway, tools=[LARK, REGEX])
    assert [item["type"] for item in response["output"]] == ["message", "custom_tool_call"]
    assert inputs(response) == [QUERY]
    assert "structured_outputs" not in vllm.requests[-1].body


def test_one_that_does_not_is_written_again_under_the_grammar(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(text("I look.") + BAD, reasoning("Oh.") + text("SELECT ", "name FROM users"))
    events = stream(gateway, tools=[LARK, REGEX])
    deltas = [e["delta"] for e in events if e["type"] == "response.custom_tool_call_input.delta"]
    assert deltas == ["SELECT ", "name FROM users"]
    response = events[-1]["response"]
    assert [item["type"] for item in response["output"]] == [
        "message", "reasoning", "custom_tool_call",
    ]  # fmt: skip
    first, second = (request.body for request in vllm.chats[-2:])
    assert second["structured_outputs"] == {"grammar": SQL}
    assert second["messages"][1] == first["messages"][0]
    _, _, written, told = second["messages"]
    assert "DROP TABLE users" in written["tool_calls"][0]["function"]["arguments"]
    assert "does not follow the grammar" in told["content"]


def test_both_answers_are_counted_and_have_one_limit(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(BAD.but(usage=Usage(10, 4)), text(QUERY, usage=Usage(20, 3)))
    usage = create(gateway, tools=[LARK], max_output_tokens=20)["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (30, 7)
    assert vllm.requests[-1].body["max_completion_tokens"] == 16


def test_what_was_said_after_it_is_forgotten(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    other = {"type": "function", "name": "now"}
    both = calls(("now", {}), ("sql", {"input": "DROP"}), ("now", {}))
    vllm.script(both, text(QUERY))
    response = create(gateway, tools=[LARK, other])
    kinds = [item["type"] for item in response["output"]]
    assert kinds == ["function_call", "custom_tool_call"]


def test_a_regular_expression_is_kept_too(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(tool_call("code", '{"input": "12"}'), text("123"))
    assert inputs(create(gateway, tools=[LARK, REGEX], tool_choice="required")) == ["123"]
    assert vllm.requests[-1].body["structured_outputs"] == {"regex": "[0-9]{3}"}


def test_an_upstream_that_has_no_grammars_leaves_it_as_it_is(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(BAD, failure(400, "No grammars here."))
    assert inputs(create(gateway, tools=[LARK])) == ["DROP TABLE users"]


def test_without_tokens_left_it_stays_as_it_is(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(BAD.but(usage=Usage(10, 20)))
    assert inputs(create(gateway, tools=[LARK], max_output_tokens=20)) == ["DROP TABLE users"]


def test_a_call_that_the_limit_cut_is_not_judged(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(tool_call("sql", '{"input": "SEL', finish_reason="length"))
    response = create(gateway, tools=[LARK])
    assert (response["status"], inputs(response)) == ("incomplete", ["SEL"])


def test_a_stream_that_breaks_off_shows_what_there_was(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(BAD.but(no_finish=True, no_usage=True, no_done=True))
    response = stream(gateway, tools=[LARK])[-1]["response"]
    (call,) = response["output"]
    assert (response["status"], call["status"]) == ("failed", "incomplete")


def test_an_upstream_that_fails_the_second_time_fails_the_response(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(BAD, failure(503, "Busy."))
    response = stream(gateway, tools=[LARK])[-1]["response"]
    assert (response["status"], response["output"]) == ("failed", [])
