"""The events of a stream, in exactly this order, for each kind of answer."""

from __future__ import annotations

from typing import Any

from tests.acceptance.exchanges import Json, stream, types
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, Usage, calls, raw, reasoning, text, tool_call

TOOLS: list[Json] = [
    {"type": "function", "name": "get_weather"},
    {"type": "function", "name": "get_time"},
]
BEGIN = ["created", "in_progress"]


def text_events(deltas: int) -> list[str]:
    return [
        "output_item.added",
        "content_part.added",
        f"{deltas} x output_text.delta" if deltas > 1 else "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
    ]


def call_events(deltas: int) -> list[str]:
    return [
        "output_item.added",
        f"{deltas} x function_call_arguments.delta"
        if deltas > 1
        else "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]


REASONING_EVENTS = [
    "output_item.added",
    "content_part.added",
    "2 x reasoning_text.delta",
    "reasoning_text.done",
    "content_part.done",
    "output_item.done",
]


def test_text(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(text("Good", " ", "morning"))
    events = stream(gateway)
    assert types(events) == [*BEGIN, *text_events(3), "completed"]
    assert [event["delta"] for event in events if "delta" in event] == ["Good", " ", "morning"]
    assert vllm.requests[-1].body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_reasoning_then_text(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(reasoning("Hm", ".") + text("\n\n", "Yes"))
    events = stream(gateway)
    assert types(events) == [*BEGIN, *REASONING_EVENTS, *text_events(1), "completed"]
    assert [event["output_index"] for event in events if "output_index" in event] == [0] * 7 + [
        1
    ] * 6


def test_parallel_calls(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(
        tool_call("get_weather", '{"city": ', '"Paris"}') + tool_call("get_time", '{"zone": 1}')
    )
    events = stream(gateway, tools=TOOLS)
    assert types(events) == [*BEGIN, *call_events(2), *call_events(1), "completed"]
    first, second = events[-1]["response"]["output"]
    assert (first["name"], second["name"]) == ("get_weather", "get_time")
    assert first["call_id"] != second["call_id"]


def test_text_then_a_call_then_text(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(text("One moment.") + tool_call("get_time", "{}") + text("\n", "There."))
    events = stream(gateway, tools=TOOLS)
    assert types(events) == [
        *BEGIN,
        *text_events(1),
        *call_events(1),
        *text_events(1),
        "completed",
    ]


def test_reasoning_then_calls_opens_no_message_for_blank_lines(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(reasoning("I", " look") + text("\n\n") + calls(("get_time", {})))
    events = stream(gateway, tools=TOOLS)
    assert types(events) == [*BEGIN, *REASONING_EVENTS, *call_events(1), "completed"]


def test_a_call_without_arguments(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(tool_call("get_time"))
    events = stream(gateway, tools=TOOLS)
    assert types(events) == [*BEGIN, *call_events(1), "completed"]
    assert events[3]["delta"] == "{}"


def test_a_refusal(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    chunk = b'data: {"choices": [{"index": 0, "delta": {"refusal": "%b"}}]}\n\n'
    vllm.script(raw(chunk % b"I will ") + raw(chunk % b"not."))
    assert types(stream(gateway)) == [
        *BEGIN,
        "output_item.added",
        "content_part.added",
        "2 x refusal.delta",
        "refusal.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]


def test_an_answer_of_nothing(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(text())
    events = stream(gateway)
    without_delta = [kind for kind in text_events(1) if kind != "output_text.delta"]
    assert types(events) == [*BEGIN, *without_delta, "completed"]


def test_text_that_the_limit_cut(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(text("One", " two", finish_reason="length", finish_with_last=True))
    events = stream(gateway, max_output_tokens=2)
    assert types(events) == [*BEGIN, *text_events(2), "incomplete"]
    assert events[-2]["item"]["status"] == "incomplete"
    assert events[-1]["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


def test_a_call_that_the_limit_cut(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(tool_call("get_weather", '{"ci', finish_reason="length"))
    events = stream(gateway, tools=TOOLS)
    assert types(events) == [*BEGIN, *call_events(1), "incomplete"]
    assert events[-2]["item"]["status"] == "incomplete"


def test_a_content_filter(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(text("One", finish_reason="content_filter"))
    end = stream(gateway)[-1]
    assert end["type"] == "response.incomplete"
    assert end["response"]["incomplete_details"] == {"reason": "content_filter"}


def test_usage_comes_with_the_end(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(text("Yes", usage=Usage(prompt=300, cached=256, completion=20, reasoning=9)))
    events = stream(gateway)
    assert events[0]["response"]["usage"] is events[1]["response"]["usage"] is None
    usage: dict[str, Any] = events[-1]["response"]["usage"]
    assert usage["total_tokens"] == 320
    assert usage["input_tokens_details"]["cached_tokens"] == 256
    assert usage["output_tokens_details"]["reasoning_tokens"] == 9


def test_many_tokens_in_one_read_stay_many_events(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(text(*"abcdefghij").but(one_write=True))
    assert types(stream(gateway)) == [*BEGIN, *text_events(10), "completed"]


def test_chunks_that_are_cut_anywhere_change_nothing(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script((reasoning("Hm", "…") + text("日本", "語")).but(chunk_bytes=7))
    events = stream(gateway)
    assert types(events) == [*BEGIN, *REASONING_EVENTS, *text_events(2), "completed"]
    assert events[-1]["response"]["output"][1]["content"][0]["text"] == "日本語"
