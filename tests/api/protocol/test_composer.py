"""The composer: which events and items come of which deltas, in which order."""

from __future__ import annotations

import json

import pytest

from apps.api.protocol.composer import Outcome
from apps.api.protocol.deltas import (
    Delta,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    TurnEnd,
)
from apps.api.protocol.types import JSONObject
from tests.api.protocol.runs import (
    CANCELLED,
    COMPLETED,
    ERROR,
    FAILED,
    FILTERED,
    LENGTH,
    STOP,
    TOO_LONG,
    function_call,
    message,
    new_composer,
    output_text,
    reasoning,
    refusal,
    run,
)
from tests.event_streams import check_stream, decoded
from tests.spec_tables import check_response


def output_of(*deltas: Delta, outcome: Outcome = COMPLETED) -> list[JSONObject]:
    """The output of a response made of these deltas, whose events are right."""
    composer = new_composer()
    check_stream(decoded(run(composer, [deltas], outcome)))
    output: list[JSONObject] = json.loads(composer.to_json())["output"]
    return output


def types_of(*deltas: Delta, outcome: Outcome = COMPLETED) -> list[str]:
    return [event["type"] for event in decoded(run(new_composer(), [deltas], outcome))]


# --- Order ----------------------------------------------------------------------------------------


def test_a_response_begins_with_created_and_in_progress_without_output() -> None:
    created, in_progress = decoded(new_composer().start())
    assert (created["type"], created["sequence_number"]) == ("response.created", 0)
    assert (in_progress["type"], in_progress["sequence_number"]) == ("response.in_progress", 1)
    assert created["response"] == in_progress["response"]
    assert created["response"]["output"] == []
    assert created["response"]["status"] == "in_progress"
    check_response(created["response"])


def test_the_events_of_a_text() -> None:
    assert types_of(TextDelta("Hello"), TextDelta("!"), STOP) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]


def test_the_events_of_reasoning() -> None:
    assert types_of(ReasoningDelta("Hm."), TextDelta("Hi"), STOP)[2:8] == [
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.content_part.done",
        "response.output_item.done",
    ]


def test_the_events_of_a_call() -> None:
    assert types_of(ToolCallStart(0, "f"), ToolCallArguments(0, "{}"), STOP)[2:-1] == [
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
    ]


def test_an_error_comes_before_the_failed_response() -> None:
    stream = decoded(run(new_composer(), [[TextDelta("Hel")]], FAILED))
    assert [event["type"] for event in stream[-3:]] == [
        "response.output_item.done",
        "error",
        "response.failed",
    ]
    assert stream[-2]["error"] == ERROR.model_dump()
    assert stream[-1]["response"]["error"] == {"code": "upstream_timeout", "message": "Silence."}


def test_an_error_without_a_code_is_a_server_error_in_the_response() -> None:
    outcome = Outcome(status=FAILED.status, at=20, error=ERROR.model_copy(update={"code": None}))
    end = decoded(run(new_composer(), [], outcome))[-1]
    assert end["response"]["error"]["code"] == "server_error"


# --- Items ----------------------------------------------------------------------------------------


def test_every_kind_of_item_in_one_turn() -> None:
    assert output_of(
        ReasoningDelta("H"),
        ReasoningDelta("m."),
        TextDelta("Let me "),
        TextDelta("see."),
        ToolCallStart(0, "look"),
        ToolCallArguments(0, '{"at":'),
        ToolCallArguments(0, " 1}"),
        ToolCallStart(1, "stop"),
        ToolCallArguments(1, "{}"),
        STOP,
    ) == [
        reasoning("Hm."),
        message(output_text("Let me see.")),
        function_call("look", '{"at": 1}'),
        function_call("stop", "{}", number=2),
    ]


def test_a_refusal_after_text_is_a_second_part_of_the_message() -> None:
    parts = output_text("Well. "), refusal("I cannot."), output_text("Sorry.")
    assert output_of(
        TextDelta("Well. "), RefusalDelta("I "), RefusalDelta("cannot."), TextDelta("Sorry."), STOP
    ) == [message(*parts)]


def test_text_after_a_call_is_another_message() -> None:
    assert output_of(
        TextDelta("a"), ToolCallStart(0, "f"), ToolCallArguments(0, "{}"), TextDelta("b"), STOP
    ) == [
        message(output_text("a")),
        function_call("f", "{}"),
        message(output_text("b"), number=2),
    ]


def test_every_turn_begins_items_of_its_own() -> None:
    assert output_of(
        ToolCallStart(0, "f"), STOP, ToolCallStart(0, "f"), STOP, TextDelta("a"), STOP
    ) == [
        function_call("f", "{}"),
        function_call("f", "{}", number=2),
        message(output_text("a")),
    ]


def test_a_call_without_arguments_becomes_an_empty_object() -> None:
    stream = decoded(run(new_composer(), [[ToolCallStart(0, "f"), STOP]], COMPLETED))
    assert stream[3]["delta"] == "{}"
    assert stream[4]["arguments"] == "{}"


def test_a_call_that_was_cut_before_its_arguments_has_none() -> None:
    assert output_of(ToolCallStart(0, "f"), LENGTH, outcome=TOO_LONG) == [
        function_call("f", "", status="incomplete")
    ]


def test_an_answer_of_nothing_is_a_message_of_nothing() -> None:
    assert output_of(STOP) == [message(output_text(""))]


def test_reasoning_alone_is_followed_by_a_message_of_nothing() -> None:
    assert output_of(ReasoningDelta("Hm."), STOP) == [reasoning("Hm."), message(output_text(""))]


def test_a_call_is_an_answer() -> None:
    assert output_of(ToolCallStart(0, "f"), STOP) == [function_call("f", "{}")]


def test_an_answer_that_was_cut_before_it_began_has_no_output() -> None:
    assert output_of(LENGTH, outcome=TOO_LONG) == []
    assert output_of(ReasoningDelta("Hm"), LENGTH, outcome=TOO_LONG) == [
        reasoning("Hm", status="incomplete")
    ]


@pytest.mark.parametrize("finish", [Finish.LENGTH, Finish.CONTENT_FILTER])
def test_only_the_item_that_was_cut_is_incomplete(finish: Finish) -> None:
    outcome = TOO_LONG if finish is Finish.LENGTH else FILTERED
    assert output_of(
        ReasoningDelta("Hm."), TextDelta("Hel"), TurnEnd(finish, None), outcome=outcome
    ) == [reasoning("Hm."), message(output_text("Hel"), status="incomplete")]


@pytest.mark.parametrize("outcome", [FAILED, CANCELLED])
def test_what_is_open_at_a_bad_end_is_closed_as_incomplete(outcome: Outcome) -> None:
    composer = new_composer()
    run(composer, [[ToolCallStart(0, "f"), ToolCallArguments(0, '{"a')]], outcome)
    assert json.loads(composer.output[0].to_json()) == function_call(
        "f", '{"a', status="incomplete"
    )
