"""What is peculiar to the texts and calls in chunks of chat completions, a test for each."""

from __future__ import annotations

import pytest

from apps.api.upstream.chat import ChatNormalizer
from tests.api.upstream.chunks import LENGTH, ROLE, STOP, Json, calls, chunk, piece, said
from tests.api.upstream.replays import call, cut, text, thought

# --- Text and reasoning ---------------------------------------------------------------------------


def test_the_chunk_with_nothing_but_the_role_says_nothing() -> None:
    assert ChatNormalizer().feed(chunk(**ROLE)) == []


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_reasoning_has_two_names(name: str) -> None:
    assert said(chunk(**{name: "Hm."}), chunk(content="Hi"), STOP) == [thought("Hm."), text("Hi")]


def test_reasoning_under_both_names_is_said_once() -> None:
    both = {"reasoning": "Hm.", "reasoning_content": "Hm."}
    assert said(chunk(**both), chunk(content="Hi"), STOP) == [thought("Hm."), text("Hi")]


def test_null_reasoning_beside_text_means_nothing() -> None:
    assert said(chunk(content="Hi", reasoning=None), STOP) == [text("Hi")]


def test_blank_lines_between_reasoning_and_answer_are_dropped() -> None:
    hm = chunk(reasoning="\nHm.\n")
    assert said(hm, chunk(content="\n"), chunk(content="\n"), chunk(content="Hi"), STOP) == [
        thought("\nHm.\n"),
        text("Hi"),
    ]
    assert said(hm, chunk(content="\n\nHi"), STOP) == [thought("\nHm.\n"), text("Hi")]


def test_blank_lines_inside_an_answer_stay() -> None:
    assert said(chunk(content="a"), chunk(content="\n\n"), chunk(content="b\n"), STOP) == [
        text("a\n\nb\n")
    ]


def test_blanks_at_the_very_beginning_belong_to_the_answer() -> None:
    assert said(chunk(content="\n"), chunk(content="  code"), STOP) == [text("\n  code")]


def test_blanks_of_a_line_after_reasoning_stay() -> None:
    assert said(chunk(reasoning="Hm."), chunk(content="\n\n  code"), STOP) == [
        thought("Hm."),
        text("  code"),
    ]


def test_blank_reasoning_is_none_and_its_blanks_are_not_the_answers() -> None:
    """With thinking switched off, some templates leave an empty pair of tags."""
    assert said(chunk(reasoning="\n\n"), chunk(content="\n\nHi"), STOP) == [text("Hi")]
    assert said(chunk(reasoning=" "), chunk(content="Hi"), STOP) == [text("Hi")]


def test_blank_text_between_reasoning_and_a_call_is_no_message() -> None:
    assert said(
        chunk(reasoning="Hm."), chunk(content="\n\n"), calls(piece(0, "{}", name="f")), STOP
    ) == [thought("Hm."), call("f", "{}")]


def test_blank_text_after_reasoning_is_no_answer() -> None:
    assert said(chunk(reasoning="Hm."), chunk(content="\n\n"), STOP) == [thought("Hm."), text("")]


def test_reasoning_alone_is_complete() -> None:
    """A thinking switch that does not match the parser moves the whole answer there."""
    assert said(chunk(reasoning="It is 42."), STOP) == [thought("It is 42."), text("")]


def test_reasoning_that_the_limit_cut_has_no_message() -> None:
    assert said(chunk(reasoning="H"), chunk("length", reasoning="m")) == [cut(thought("Hm"))]


def test_reasoning_may_come_again() -> None:
    assert said(chunk(reasoning="a"), chunk(content="b"), chunk(reasoning="c"), STOP) == [
        thought("a"),
        text("b"),
        thought("c"),
    ]


def test_markup_in_the_text_is_text() -> None:
    markup = '<think>Hm.</think>\n<tool_call>{"name": "f"}</tool_call>'
    assert said(chunk(content=markup), STOP) == [text(markup)]


def test_a_refusal_is_part_of_the_message() -> None:
    assert said(chunk(content="Well. "), chunk(refusal="I "), chunk(refusal="can't."), STOP) == [
        text("Well. I can't.")
    ]


def test_text_and_the_end_may_come_in_one_chunk() -> None:
    assert said(chunk(content="a"), chunk("length", content="b")) == [cut(text("ab"))]


def test_chunks_with_logprobs_and_no_text_say_nothing() -> None:
    empty = chunk()
    empty["choices"][0]["logprobs"] = {"content": [{"token": "<think>"}]}
    assert said(empty, chunk(reasoning="Hm."), empty, chunk(content="Hi"), STOP) == [
        thought("Hm."),
        text("Hi"),
    ]


# --- Calls ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first",
    [
        piece(0, name="f", id="chatcmpl-tool-1", type="function"),
        piece(0, "", name="f", id="functions.f:0"),
        piece(0, '{"a"', name="f", id="aB3dE6gH9"),
    ],
)
def test_the_first_delta_of_a_call_may_have_arguments_or_none(first: Json) -> None:
    begun = '{"a": 1}'.removeprefix(first["function"].get("arguments", ""))
    assert said(calls(first), calls(piece(0, begun)), STOP) == [call("f", '{"a": 1}')]


@pytest.mark.parametrize(
    "more",
    [{}, {"id": None}, {"id": ""}, {"id": "a"}, {"type": "function"}, {"name": ""}, {"name": "f"}],
)
def test_later_deltas_of_a_call_may_repeat_anything_or_nothing(more: Json) -> None:
    assert said(
        calls(piece(0, name="f", id="a")), calls(piece(0, "{", **more)), calls(piece(0, "}")), STOP
    ) == [call("f", "{}")]


def test_empty_and_null_arguments_add_nothing() -> None:
    null = {"index": 0, "function": {"arguments": None}}
    no_function = {"index": 0, "function": None}
    assert said(
        calls(piece(0, name="f")), calls(piece(0, "")), calls(null), calls(no_function), STOP
    ) == [call("f", "{}")]


def test_a_call_without_arguments_has_an_empty_object() -> None:
    assert said(calls(piece(0, name="now")), STOP) == [call("now", "{}")]


def test_parallel_calls_are_told_apart_by_index() -> None:
    assert said(
        calls(piece(0, name="f", id="a")),
        calls(piece(0, "{}")),
        calls(piece(1, name="f", id="b")),
        calls(piece(1, "{}")),
        STOP,
    ) == [call("f", "{}"), call("f", "{}")]


def test_parallel_calls_in_one_chunk() -> None:
    both = calls(piece(0, "{}", name="f"), piece(1, "[]", name="g"), finish="tool_calls")
    assert said(both) == [call("f", "{}"), call("g", "[]")]


def test_another_id_at_the_same_index_is_another_call() -> None:
    assert said(
        calls(piece(0, "{}", name="f", id="a")), calls(piece(0, "{}", name="g", id="b")), STOP
    ) == [call("f", "{}"), call("g", "{}")]


@pytest.mark.parametrize("finish", ["stop", "tool_calls", "function_call"])
def test_calls_make_a_call_whatever_the_finish_reason(finish: str) -> None:
    assert said(calls(piece(0, "{}", name="f")), chunk(finish)) == [call("f", "{}")]


def test_a_finish_reason_of_calls_without_calls_is_an_empty_answer() -> None:
    assert said(chunk("tool_calls")) == [text("")]


def test_a_call_that_the_limit_cut_is_incomplete() -> None:
    assert said(calls(piece(0, name="f")), calls(piece(0, '{"a')), LENGTH) == [
        cut(call("f", '{"a'))
    ]


def test_only_the_last_of_parallel_calls_is_cut() -> None:
    assert said(calls(piece(0, "{}", name="f")), calls(piece(1, "{", name="g")), LENGTH) == [
        call("f", "{}"),
        cut(call("g", "{")),
    ]


def test_arguments_that_are_no_json_are_passed_on() -> None:
    assert said(calls(piece(0, '{"city": Paris,,}', name="f")), STOP) == [
        call("f", '{"city": Paris,,}')
    ]


def test_text_may_follow_a_call() -> None:
    assert said(calls(piece(0, "{}", name="f")), chunk(content="\nDone."), STOP) == [
        call("f", "{}"),
        text("Done."),
    ]


def test_blank_text_between_calls_and_after_them_is_no_message() -> None:
    assert said(
        calls(piece(0, "{}", name="f")),
        chunk(content="\n"),
        calls(piece(1, "{}", name="g")),
        chunk(content="\n"),
        STOP,
    ) == [call("f", "{}"), call("g", "{}")]


def test_blank_text_does_not_part_a_call_from_its_arguments() -> None:
    assert said(
        calls(piece(0, "{", name="f")), chunk(content="\n"), calls(piece(0, "}")), STOP
    ) == [call("f", "{}")]


def test_text_before_a_call_keeps_its_end() -> None:
    assert said(chunk(content="I look.\n\n"), calls(piece(0, "{}", name="f")), STOP) == [
        text("I look.\n\n"),
        call("f", "{}"),
    ]


def test_a_call_inside_the_reasoning_is_a_call() -> None:
    assert said(chunk(reasoning="Hm."), calls(piece(0, "{}", name="f")), STOP) == [
        thought("Hm."),
        call("f", "{}"),
    ]


def test_null_and_empty_lists_of_calls_mean_nothing() -> None:
    assert said(chunk(content="a", tool_calls=None), chunk(content="b", tool_calls=[]), STOP) == [
        text("ab")
    ]
