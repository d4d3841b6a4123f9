"""Input items: every shape in which clients send them, and the form in which they are kept."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given

from apps.api.protocol.composer import Outcome
from apps.api.protocol.deltas import Delta
from apps.api.protocol.input_items import ItemReference, to_items
from apps.api.protocol.types import Item
from tests.api.protocol.bodies import accept, problem_of
from tests.api.protocol.runs import counting_ids, message, new_composer, output_text, run
from tests.api.protocol.strategies import runs
from tests.spec_tables import check_input_item_listed

Json = dict[str, Any]


def kept(value: Any) -> list[Item | ItemReference]:
    """What becomes of an ``input``."""
    return to_items(accept({"input": value}).input, counting_ids())


def user(*texts: str, role: str = "user") -> Json:
    return {
        "type": "message",
        "id": "msg_1",
        "role": role,
        "status": "completed",
        "content": [{"type": "input_text", "text": text} for text in texts],
    }


CALL = {
    "id": "fc_1",
    "status": "completed",
    "type": "function_call",
    "arguments": '{"a": 1}',
    "call_id": "c",
    "name": "add",
}
OUTPUT = {
    "id": "fco_1",
    "status": "completed",
    "type": "function_call_output",
    "call_id": "c",
    "output": "2",
}
REASONING = {
    "id": "rs_1",
    "status": "completed",
    "type": "reasoning",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "Hm."}],
}
NO_SUMMARY = {key: value for key, value in REASONING.items() if key != "summary"}
TEXT = {"type": "input_text", "text": "Hi"}
LOGPROB = {"token": "Hi", "logprob": -0.5, "bytes": [72, 105], "top_logprobs": []}
CITATION = {"type": "url_citation", "url": "http://a", "title": "A", "start_index": 0,
            "end_index": 1}  # fmt: skip

SHAPES: dict[str, tuple[Json, Json]] = {
    "a message without a type": ({"role": "user", "content": "Hi"}, user("Hi")),
    "a message whose type is null": ({"type": None, "role": "user", "content": "Hi"}, user("Hi")),
    "a message with a type": ({"type": "message", "role": "user", "content": "Hi"}, user("Hi")),
    "a message of parts": ({"role": "user", "content": [TEXT, TEXT]}, user("Hi", "Hi")),
    "a message of no parts": ({"role": "user", "content": []}, user()),
    "a message with null members": (
        {"role": "user", "content": "Hi", "id": None, "status": None, "phase": None},
        user("Hi"),
    ),
    "a message with an id and a status": (
        {"role": "user", "content": "Hi", "id": "mine", "status": "in_progress"},
        user("Hi") | {"id": "mine", "status": "in_progress"},
    ),
    "a message with more than we know": (
        {"role": "user", "name": "Ann", "content": [{**TEXT, "prompt_cache_breakpoint": {}}]},
        user("Hi"),
    ),
    "a system message": ({"role": "system", "content": "Hi"}, user("Hi", role="system")),
    "a developer message": ({"role": "developer", "content": "Hi"}, user("Hi", role="developer")),
    "an assistant's string": ({"role": "assistant", "content": "Hi"}, message(output_text("Hi"))),
    "an assistant's input text": (
        {"role": "assistant", "content": [TEXT]},
        message(output_text("Hi")),
    ),
    "an assistant's text of another server": (
        {"role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
        message(output_text("Hi")),
    ),
    "an answer with annotations, logprobs and what the client parsed": (
        message({**output_text("Hi"), "annotations": [CITATION], "logprobs": [LOGPROB],
                 "parsed": {"a": 1}}),
        message({**output_text("Hi"), "annotations": [CITATION], "logprobs": [LOGPROB]}),
    ),
    "an answer whose lists are null": (
        message({**output_text("Hi"), "annotations": None, "logprobs": None, "parsed": None}),
        message(output_text("Hi")),
    ),
    "an answer in a phase": (
        message(output_text("Hi")) | {"phase": "final_answer"},
        message(output_text("Hi")) | {"phase": "final_answer"},
    ),
    "an answer of nothing": (message(), message()),
    "a refusal": (
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        message({"type": "refusal", "refusal": "No."}),
    ),
    "reasoning": (REASONING, REASONING),
    "reasoning without an id": (REASONING | {"id": None}, REASONING),
    "reasoning without a summary": (NO_SUMMARY, REASONING),
    "reasoning with a summary alone": (
        REASONING | {"content": None, "summary": [{"type": "summary_text", "text": "Hm."}]},
        REASONING | {"content": [], "summary": [{"type": "summary_text", "text": "Hm."}]},
    ),
    "reasoning that only its maker can read": (
        REASONING | {"content": None, "encrypted_content": "sealed", "status": None},
        REASONING | {"content": [], "encrypted_content": "sealed"},
    ),
    "a call": (CALL, CALL),
    "a call without an id": (CALL | {"id": None, "status": None}, CALL),
    "a call with what the client parsed": (
        CALL | {"parsed_arguments": {"a": 1}, "namespace": None, "caller": None},
        CALL,
    ),
    "a call that was cut": (
        CALL | {"arguments": "", "status": "incomplete"},
        CALL | {"arguments": "", "status": "incomplete"},
    ),
    "an output": (OUTPUT, OUTPUT),
    "an output without an id": (OUTPUT | {"id": None, "status": None}, OUTPUT),
    "an output of parts": (OUTPUT | {"output": [TEXT, TEXT]}, OUTPUT | {"output": [TEXT, TEXT]}),
    "an output of nothing": (OUTPUT | {"output": ""}, OUTPUT | {"output": ""}),
}  # fmt: skip
"""What a client may send, and what is kept of it."""


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_accepted_and_kept_in_one_form(name: str) -> None:
    sent, expected = SHAPES[name]
    (item,) = kept([sent])
    assert item == expected
    assert kept([expected]) == [expected]
    check_input_item_listed(expected)


def test_a_string_is_one_message_of_the_user() -> None:
    assert kept("Hi") == [user("Hi")]


def test_no_input_is_no_items() -> None:
    assert to_items(None, counting_ids()) == kept([]) == []


@pytest.mark.parametrize("sent", [{"id": "a"}, {"id": "a", "type": None},
                                  {"id": "a", "type": "item_reference"}])  # fmt: skip
def test_an_id_alone_refers_to_a_stored_item(sent: Json) -> None:
    (item,) = kept([sent])
    assert isinstance(item, ItemReference)
    assert item.id == "a"


@given(runs())
def test_what_we_emit_comes_back_as_it_was(given_run: tuple[list[Delta], Outcome]) -> None:
    deltas, outcome = given_run
    composer = new_composer()
    run(composer, [deltas], outcome)
    emitted = [item.to_json() for item in composer.output]
    again = kept([orjson.loads(item) for item in emitted])
    assert [orjson.dumps(item) for item in again] == emitted
    for item in again:
        assert not isinstance(item, ItemReference)
        check_input_item_listed(item)


# --- Refusals -------------------------------------------------------------------------------------

WRONG: list[tuple[Any, str, str]] = [
    (5, "input", "invalid_type"),
    ({}, "input", "invalid_type"),
    ([5], "input[0]", "invalid_type"),
    (["Hi"], "input[0]", "invalid_type"),
    ([None], "input[0]", "invalid_type"),
    ([{}], "input[0].role", "missing_required_parameter"),
    ([{"role": "user", "content": "a"}, {"role": "user"}], "input[1].content",
     "missing_required_parameter"),
    ([{"type": "message", "content": "Hi"}], "input[0].role", "missing_required_parameter"),
    ([{"role": "tool", "content": "Hi"}], "input[0].role", "invalid_value"),
    ([{"role": None, "content": "Hi"}], "input[0].role", "invalid_value"),
    ([{"type": "web_search_call"}], "input[0].type", "unsupported_value"),
    ([{"type": 5}], "input[0].type", "invalid_type"),
    ([{"type": {"a": None}}], "input[0].type", "invalid_type"),
    ([{"role": "user", "content": None}], "input[0].content", "invalid_type"),
    ([{"role": "user", "content": {"type": "input_text"}}], "input[0].content", "invalid_type"),
    ([{"role": "user", "content": "Hi", "status": "done"}], "input[0].status", "invalid_value"),
    ([{"role": "user", "content": "Hi", "id": 5}], "input[0].id", "invalid_type"),
    ([{"role": "assistant", "content": "Hi", "phase": "warm-up"}], "input[0].phase",
     "invalid_value"),
    ([{"id": ""}], "input[0].id", "invalid_value"),
    ([{"type": "item_reference"}], "input[0].id", "missing_required_parameter"),
    ([{"type": "function_call"}], "input[0].call_id", "missing_required_parameter"),
    ([CALL | {"call_id": ""}], "input[0].call_id", "invalid_value"),
    ([CALL | {"call_id": "c" * 65}], "input[0].call_id", "string_above_max_length"),
    ([CALL | {"arguments": {"a": 1}}], "input[0].arguments", "invalid_type"),
    ([CALL | {"name": ""}], "input[0].name", "invalid_value"),
    ([OUTPUT | {"call_id": None}], "input[0].call_id", "invalid_type"),
    ([OUTPUT | {"output": None}], "input[0].output", "invalid_type"),
    ([OUTPUT | {"output": {"a": 1}}], "input[0].output", "invalid_type"),
    ([OUTPUT | {"output": [{"type": "input_audio"}]}], "input[0].output[0].type",
     "unsupported_value"),
    ([REASONING | {"content": "Hm."}], "input[0].content", "invalid_type"),
    ([REASONING | {"content": [{"type": "reasoning_text", "text": 5}]}], "input[0].content[0].text",
     "invalid_type"),
    ([REASONING | {"summary": [{"type": "summary_text"}]}], "input[0].summary[0].text",
     "missing_required_parameter"),
    ([REASONING | {"encrypted_content": 5}], "input[0].encrypted_content", "invalid_type"),
]  # fmt: skip

WRONG_PARTS: list[tuple[str, Any, str, str]] = [
    ("user", "Hi", "", "invalid_type"),
    ("user", None, "", "invalid_type"),
    ("user", {}, ".type", "missing_required_parameter"),
    ("user", {"type": None}, ".type", "invalid_type"),
    ("user", {"type": "text", "text": "Hi"}, ".type", "unsupported_value"),
    ("user", {"type": "output_text", "text": "Hi"}, ".type", "unsupported_value"),
    ("user", {"type": "input_image", "image_url": "x"}, ".image_url", "invalid_image_url"),
    ("user", {"type": "input_file", "file_id": "x", "file_data": "eA=="}, "",
     "missing_required_parameter"),
    ("system", {"type": "input_image", "image_url": "x"}, ".type", "unsupported_value"),
    ("user", {"type": "input_text"}, ".text", "missing_required_parameter"),
    ("user", {"type": "input_text", "text": None}, ".text", "invalid_type"),
    ("system", {"type": "refusal", "refusal": "No."}, ".type", "unsupported_value"),
    ("assistant", {"type": "reasoning_text", "text": "Hm."}, ".type", "unsupported_value"),
    ("assistant", {"type": "refusal"}, ".refusal", "missing_required_parameter"),
    ("assistant", {"type": "output_text", "text": 5}, ".text", "invalid_type"),
    ("assistant", {"type": "output_text", "text": "", "annotations": {}}, ".annotations",
     "invalid_type"),
    ("assistant", {"type": "output_text", "text": "", "logprobs": [5]}, ".logprobs[0]",
     "invalid_type"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "param", "code"), WRONG)
def test_an_item_is_refused_by_its_path(value: Any, param: str, code: str) -> None:
    problem = problem_of({"input": value})
    assert problem is not None
    assert (problem.param, problem.code) == (param, code)


@pytest.mark.parametrize(("role", "part", "path", "code"), WRONG_PARTS)
def test_a_part_is_refused_by_its_path(role: str, part: Any, path: str, code: str) -> None:
    problem = problem_of({"input": [{"role": role, "content": [TEXT, part]}]})
    assert problem is not None
    assert (problem.param, problem.code) == (f"input[0].content[1]{path}", code)


def test_messages_name_the_path_and_the_type() -> None:
    image = {"role": "user", "content": [TEXT, {"type": "input_audio", "data": "x"}]}
    problem = problem_of({"input": [image]})
    assert problem is not None
    assert problem.param == "input[0].content[1].type"
    assert problem.message == "Content parts of type 'input_audio' are not supported here."
    missing = problem_of({"input": [{"role": "user", "content": [{"type": "input_text"}]}]})
    assert missing is not None
    assert missing.message == "Missing required parameter: 'input[0].content[0].text'."
