"""How composed responses end: usage, status, what may still happen, what the official client reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import openai
import pytest

from apps.api.protocol.composer import Outcome, ResponseComposer
from apps.api.protocol.deltas import (
    Delta,
    Finish,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    TurnEnd,
    TurnUsage,
)
from tests.api.protocol.runs import (
    CANCELLED,
    COMPLETED,
    FAILED,
    FILTERED,
    LENGTH,
    STOP,
    TOO_LONG,
    message,
    new_composer,
    output_text,
    run,
)
from tests.event_streams import check_stream, decoded, official_events

OUTCOMES = {
    "completed": COMPLETED,
    "too long": TOO_LONG,
    "filtered": FILTERED,
    "failed": FAILED,
    "cancelled": CANCELLED,
}


# --- Usage ----------------------------------------------------------------------------------------


def test_usage_is_summed_over_the_turns() -> None:
    composer = new_composer()
    second = TurnEnd(Finish.STOP, TurnUsage(100, 40, 30, 20))
    run(composer, [[ToolCallStart(0, "f"), STOP, TextDelta("a"), second]], COMPLETED)
    assert json.loads(composer.to_json())["usage"] == {
        "input_tokens": 105,
        "input_tokens_details": {"cached_tokens": 41, "cache_write_tokens": 0},
        "output_tokens": 33,
        "output_tokens_details": {"reasoning_tokens": 22},
        "total_tokens": 138,
    }


def test_a_turn_without_usage_adds_nothing() -> None:
    composer = new_composer()
    run(composer, [[TextDelta("a"), STOP, TextDelta("b"), TurnEnd(Finish.STOP, None)]], COMPLETED)
    assert composer.usage == STOP.usage


def test_usage_is_null_until_a_turn_tells_it() -> None:
    composer = new_composer()
    failed = decoded(run(composer, [[TextDelta("a")]], FAILED))[-1]
    assert failed["response"]["usage"] is None
    assert composer.usage is None


# --- Ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OUTCOMES)
def test_what_is_stored_is_what_is_announced(name: str) -> None:
    composer, outcome = new_composer(), OUTCOMES[name]
    composer.start()
    composer.feed([TextDelta("Hello"), STOP])
    composer.finish(outcome)
    stored = composer.to_json()
    assert json.loads(stored)["status"] == outcome.status
    assert not composer.ended
    if outcome is not CANCELLED:
        *_, end = composer.announce()
        assert b'"response":%b,' % stored in end.json
        assert composer.to_json() == stored
        assert composer.ended


def test_the_end_may_be_settled_anew_until_it_is_announced() -> None:
    """What could not be stored has failed, although all of its events were good."""
    composer = new_composer()
    events = composer.start() + composer.feed([TextDelta("Hello"), STOP])
    events += composer.finish(COMPLETED)
    assert composer.finish(FAILED) == []
    stream = decoded([*events, *composer.announce()])
    check_stream(stream)
    assert stream[-1]["response"]["status"] == "failed"
    assert stream[-1]["response"]["completed_at"] is None
    assert stream[-1]["response"]["output"] == [message(output_text("Hello"))]


ILLEGAL: dict[str, Callable[[ResponseComposer], object]] = {
    "start": lambda composer: composer.start(),
    "feed": lambda composer: composer.feed([TextDelta("late")]),
    "finish": lambda composer: composer.finish(FAILED),
    "announce": lambda composer: composer.announce(),
}


@pytest.mark.parametrize("name", ILLEGAL)
@pytest.mark.parametrize("outcome", [COMPLETED, TOO_LONG, FAILED])
def test_nothing_happens_after_the_end(name: str, outcome: Outcome) -> None:
    composer = new_composer()
    run(composer, [[TextDelta("a"), STOP]], outcome)
    before = composer.to_json(), list(composer.output), composer.usage, composer.response
    with pytest.raises(AssertionError):
        ILLEGAL[name](composer)
    assert (composer.to_json(), list(composer.output), composer.usage, composer.response) == before


def test_a_settled_response_takes_no_more_deltas() -> None:
    composer = new_composer()
    run(composer, [[TextDelta("a"), STOP]], CANCELLED)
    before = composer.to_json()
    with pytest.raises(AssertionError):
        composer.feed([TextDelta("late")])
    assert composer.to_json() == before


def test_a_cancelled_response_is_not_announced() -> None:
    composer = new_composer()
    run(composer, [[TextDelta("a")]], CANCELLED)
    before = composer.to_json()
    with pytest.raises(AssertionError):
        composer.announce()
    assert composer.to_json() == before
    assert not composer.ended


@pytest.mark.parametrize("name", ["feed", "announce"])
def test_what_comes_before_its_time_is_refused(name: str) -> None:
    composer = new_composer()
    with pytest.raises(AssertionError):
        ILLEGAL[name](composer)
    assert decoded(composer.start())[0]["sequence_number"] == 0


def test_arguments_for_a_call_that_is_not_open_are_refused() -> None:
    composer = new_composer()
    composer.start()
    composer.feed([ToolCallStart(0, "f"), TextDelta("a")])
    with pytest.raises(AssertionError, match="call 0"):
        composer.feed([ToolCallArguments(0, "{}")])


def test_the_calls_of_a_response_are_the_complete_ones() -> None:
    composer = new_composer()
    deltas: Sequence[Delta] = [ToolCallStart(0, "f"), ToolCallStart(1, "g"), LENGTH]
    run(composer, [deltas], TOO_LONG)
    assert [call.to_json() for call in composer.calls] == [composer.output[0].to_json()]


# --- The official client --------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [FAILED, COMPLETED, TOO_LONG, CANCELLED])
def test_the_official_client_reads_every_end(outcome: Outcome) -> None:
    events = run(new_composer(), [[ReasoningDelta("Hm."), TextDelta("Hi"), STOP]], outcome)
    if outcome is FAILED:
        with pytest.raises(openai.APIError, match=r"Silence\.") as caught:
            official_events(events)
        assert caught.value.code == "upstream_timeout"
        return
    last = official_events(events)[-1]
    if outcome is CANCELLED:
        assert last.type == "response.output_item.done"
    else:
        assert last.response.status == outcome.status
        assert last.response.output_text == "Hi"


def test_the_official_client_accumulates_text_and_arguments() -> None:
    deltas: list[Delta] = [TextDelta("Hel"), TextDelta("lo"), ToolCallStart(0, "f")]
    deltas += [ToolCallArguments(0, "{"), ToolCallArguments(0, "}"), STOP]
    events = official_events(run(new_composer(), [deltas], COMPLETED))
    assert [e.snapshot for e in events if e.type == "response.output_text.delta"] == [
        "Hel",
        "Hello",
    ]
    assert [e.snapshot for e in events if e.type.endswith("arguments.delta")] == ["{", "{}"]


# --- Untold ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [COMPLETED, TOO_LONG, FAILED])
def test_events_that_nobody_is_told_are_not_rendered(outcome: Outcome) -> None:
    batches: list[list[Delta]]
    batches = [[ReasoningDelta("Hm."), TextDelta("a"), ToolCallStart(0, "f"), STOP]]
    told, untold = new_composer(), new_composer(told=False)
    events, silent = run(told, batches, outcome), run(untold, batches, outcome)
    assert [event[:2] for event in silent] == [event[:2] for event in events]
    assert not any(event.json for event in silent if event.type != "error")
    assert untold.to_json() == told.to_json()
