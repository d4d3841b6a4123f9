"""Items to chat messages: what belongs together, in which order, in which form."""

from __future__ import annotations

import pytest

from tests.api.upstream.chat_messages import (
    HELLO,
    HI,
    asked,
    call,
    calling,
    messages_of,
    output,
    said,
    thought,
    told,
)

# --- Texts ----------------------------------------------------------------------------------------


def test_messages_keep_their_order() -> None:
    assert messages_of(HI, HELLO, HI) == [HI, HELLO, HI]


def test_all_that_instructs_becomes_one_leading_system_message() -> None:
    """Many templates admit no other."""
    assert messages_of(
        HI, said("developer", "Be kind."), said("system", "Be wise."), HELLO, instructions="Obey."
    ) == [said("system", "Obey.\n\nBe kind.\n\nBe wise."), HI, HELLO]


@pytest.mark.parametrize("instructions", [None, ""])
def test_without_instructions_there_is_no_system_message(instructions: str | None) -> None:
    assert messages_of(HI, instructions=instructions) == [HI]


def test_one_part_is_a_string_and_several_are_parts() -> None:
    part = {"type": "input_text", "text": "Hi"}
    assert messages_of({"role": "user", "content": [part]}) == [HI]
    assert messages_of({"role": "user", "content": [part, part]}) == [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}] * 2}
    ]
    assert messages_of({"role": "user", "content": []}) == [said("user", "")]


def test_the_parts_of_an_answer_are_one_text_and_a_refusal_was_said() -> None:
    parts = [{"type": "output_text", "text": "Well. "}, {"type": "refusal", "refusal": "No."}]
    assert messages_of(HI, {"role": "assistant", "content": parts}) == [
        HI,
        said("assistant", "Well. No."),
    ]


def test_an_answer_of_nothing_stays_an_answer() -> None:
    assert messages_of(HI, said("assistant", ""), HI) == [HI, said("assistant", ""), HI]


def test_two_answers_in_a_row_stay_two() -> None:
    assert messages_of(HI, HELLO, HELLO) == [HI, HELLO, HELLO]


# --- Reasoning ------------------------------------------------------------------------------------


def test_reasoning_belongs_to_the_answer_after_it() -> None:
    assert messages_of(HI, thought("Hm."), HELLO) == [HI, {**HELLO, "reasoning": "Hm."}]


def test_reasoning_belongs_to_the_calls_after_it() -> None:
    assert messages_of(HI, thought("Hm."), call("a"), output("a")) == [
        HI,
        calling(asked("a"), reasoning="Hm."),
        told("a"),
    ]


def test_reasoning_after_an_answer_begins_another() -> None:
    assert messages_of(HI, HELLO, thought("Hm."), HELLO) == [
        HI,
        HELLO,
        {**HELLO, "reasoning": "Hm."},
    ]


def test_reasoning_alone_is_an_answer_without_text() -> None:
    """That is what a limit of tokens leaves."""
    assert messages_of(HI, thought("Hm."), HI) == [
        HI,
        {"role": "assistant", "content": "", "reasoning": "Hm."},
        HI,
    ]


def test_reasoning_that_nobody_can_read_leaves_no_trace() -> None:
    sealed = {"type": "reasoning", "summary": [], "encrypted_content": "sealed"}
    assert messages_of(HI, sealed, HI) == [HI, HI]
    assert messages_of(HI, sealed, HELLO) == [HI, HELLO]


# --- Calls ----------------------------------------------------------------------------------------


def test_parallel_calls_are_one_message_with_outputs_in_call_order() -> None:
    assert messages_of(
        HI, call("a"), call("b"), call("c"), output("c", "3"), output("a", "1"), output("b", "2")
    ) == [
        HI,
        calling(asked("a"), asked("b"), asked("c")),
        told("a", "1"),
        told("b", "2"),
        told("c", "3"),
    ]


def test_sequential_calls_are_messages_of_their_own() -> None:
    assert messages_of(HI, call("a"), output("a"), call("b"), output("b"), HELLO) == [
        HI,
        calling(asked("a")),
        told("a"),
        calling(asked("b")),
        told("b"),
        HELLO,
    ]


def test_text_and_the_calls_after_it_are_one_message() -> None:
    assert messages_of(HI, HELLO, call("a"), output("a")) == [
        HI,
        calling(asked("a"), content="Hello!"),
        told("a"),
    ]


def test_text_after_calls_belongs_to_their_message() -> None:
    assert messages_of(HI, call("a"), HELLO, output("a")) == [
        HI,
        calling(asked("a"), content="Hello!"),
        told("a"),
    ]


def test_outputs_stand_right_after_their_calls() -> None:
    assert messages_of(HI, call("a"), HI, output("a"), HI) == [
        HI,
        calling(asked("a")),
        told("a"),
        HI,
        HI,
    ]


def test_a_call_id_may_come_again_once_it_was_answered() -> None:
    assert messages_of(HI, call("a"), output("a", "1"), call("a"), output("a", "2")) == [
        HI,
        calling(asked("a")),
        told("a", "1"),
        calling(asked("a")),
        told("a", "2"),
    ]


def test_an_output_of_parts() -> None:
    part = {"type": "input_text", "text": "ok"}
    assert messages_of(HI, call("a"), {**output("a"), "output": [part]})[-1] == told("a")
    assert messages_of(HI, call("a"), {**output("a"), "output": []})[-1] == told("a", "")


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ('{"a": 1}', '{"a": 1}'),
        ('{ "b":2,"a":1 }', '{ "b":2,"a":1 }'),
        ("", "{}"),
        ("  \n", "{}"),
        ("[1]", '{"input":"[1]"}'),
        ("null", '{"input":"null"}'),
        ('"a"', '{"input":"\\"a\\""}'),
        ('{"city": "Par', '{"input":"{\\"city\\": \\"Par"}'),
        ("rm -rf /", '{"input":"rm -rf /"}'),
    ],
)
def test_arguments_that_are_no_object_become_one(arguments: str, sent: str) -> None:
    assert messages_of(HI, call("a", arguments), output("a"))[1] == calling(asked("a", sent))
