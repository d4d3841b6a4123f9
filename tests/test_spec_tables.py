"""The judge itself: what it lets pass and what it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.spec_tables import (
    SPEC,
    check_event,
    check_input_item_listed,
    check_item,
    check_response,
)

TEXT = {"type": "output_text", "annotations": [], "logprobs": [], "text": "Hi"}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "status": "completed",
    "content": [TEXT],
}
DELTA = {
    "type": "response.output_text.delta",
    "sequence_number": 1,
    "item_id": "msg_1",
    "output_index": 0,
    "content_index": 0,
    "delta": "Hi",
    "logprobs": [],
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "tiny",
    "status": "completed",
    "access_programs": None,
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "output": [MESSAGE],
    "parallel_tool_calls": True,
    "temperature": 1,
    "tool_choice": "auto",
    "tools": [{"type": "function", "name": "f", "parameters": None, "strict": None}],
    "top_p": 1,
    "service_tier": None,
}


def test_what_the_tables_describe_passes() -> None:
    check_event(DELTA)
    check_event({**DELTA, "obfuscation": "xxxx"})
    check_event({"type": "response.completed", "sequence_number": 9, "response": RESPONSE})
    check_response(RESPONSE)
    check_item(MESSAGE)
    check_input_item_listed(MESSAGE)
    words = [{"type": "input_text", "text": "Hi"}]
    check_input_item_listed({"id": "1", "type": "message", "role": "user", "content": words})


def test_every_event_but_the_lifecycle_of_the_example_stream_passes() -> None:
    """The example's responses lack keys that the tables require."""
    example = json.loads((SPEC / "openai-responses-example-stream.json").read_text())
    events = [event for event in example["events"] if "response" not in event]
    assert len(events) > 70
    for event in events:
        check_event(event)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"delta": None}, "delta is no string"),
        ({"delta": 5}, "delta is no string"),
        ({"output_index": True}, "output_index is no integer"),
        ({"output_index": 0.5}, "output_index is no integer"),
        ({"novelty": 1}, "novelty is unknown"),
        ({"type": "response.novelty"}, "unknown event"),
    ],
)
def test_a_wrong_event_is_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_event({**DELTA, **change})


def test_a_missing_key_is_named() -> None:
    with pytest.raises(AssertionError, match=r"response\.output_text\.delta\.item_id is missing"):
        check_event({key: value for key, value in DELTA.items() if key != "item_id"})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"status": "done"}, r"response\.status is none of"),
        ({"tool_choice": "never"}, r"response\.tool_choice is none of"),
        ({"metadata": {"a": 1}}, r"response\.metadata\.a is no string"),
        ({"tools": [{"type": "function", "name": "f"}]}, r"tools\[0\]\.parameters is missing"),
        ({"output": [{**MESSAGE, "status": None}]}, r"output\[0\]\.status is no string"),
        ({"output": [{**MESSAGE, "content": [{**TEXT, "text": 1}]}]}, r"content\[0\]\.text is no"),
        ({"output": [{"type": "novelty"}]}, r"output\[0\]"),
    ],
)
def test_a_wrong_response_is_refused_with_the_path(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_response({**RESPONSE, **change})


def test_divergences_are_let_pass_where_they_are_declared() -> None:
    check_response({**RESPONSE, "usage": None, "user": None, "presence_penalty": 0})
    check_response({**RESPONSE, "error": {"code": "upstream_timeout", "message": "Silence."}})
    with pytest.raises(AssertionError, match="presence_penalty is unknown"):
        check_item({**MESSAGE, "presence_penalty": 0})


def test_an_item_without_an_id_is_refused_in_lists() -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    check_item(call)
    with pytest.raises(AssertionError, match=r"function_call\.id is missing"):
        check_input_item_listed({**call, "status": "completed"})
