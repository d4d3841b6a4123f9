"""What holds for every legal sequence of deltas, however it is cut into batches and however the
response ends."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import groupby

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from apps.api.protocol.events import Event
from apps.api.protocol.response import Status
from apps.api.protocol.types import JSONObject
from tests.api.protocol.runs import (
    CANCELLED,
    function_call,
    message,
    new_composer,
    output_text,
    reasoning,
    refusal,
    run,
)
from tests.api.protocol.strategies import batched, runs
from tests.event_streams import check_stream, decoded, official_events
from tests.spec_tables import check_item

# --- What must come of them -----------------------------------------------------------------------


def expected_output(deltas: Sequence[Delta]) -> list[JSONObject]:
    """The output, computed another way: whole turns, grouped by what belongs to one item."""
    output: list[JSONObject] = []
    turn: list[Delta] = []
    for delta in [*deltas, CUT]:
        if not isinstance(delta, TurnEnd):
            turn.append(delta)
            continue
        complete = delta.finish is Finish.STOP
        if complete and all(isinstance(said, ReasoningDelta) for said in turn):
            turn.append(TextDelta(""))
        groups = [list(group) for _, group in groupby(turn, key=_item_key)]
        for position, group in enumerate(groups, start=1):
            output.append(_item(group, output, complete=complete or position < len(groups)))
        turn = []
    return output


CUT = TurnEnd(Finish.LENGTH, None)  # after a whole turn, it changes nothing


def _item_key(delta: Delta) -> object:
    match delta:
        case ToolCallStart(call, _) | ToolCallArguments(call, _):
            return call
        case ReasoningDelta():
            return "reasoning"
        case _:
            return "message"


def _item(group: list[Delta], before: list[JSONObject], *, complete: bool) -> JSONObject:
    status = "completed" if complete else "incomplete"
    match group[0]:
        case ToolCallStart(_, name):
            text = _text(group[1:]) or ("{}" if complete else "")
            number = _next(before, "function_call")
            return function_call(name, text, number=number, status=status)
        case ReasoningDelta():
            return reasoning(_text(group), number=_next(before, "reasoning"), status=status)
        case _:
            parts = [
                refusal(_text(part)) if kind is RefusalDelta else output_text(_text(part))
                for kind, part in groupby(group, key=type)
            ]
            return message(*parts, number=_next(before, "message"), status=status)


def _text(deltas: Iterable[Delta]) -> str:
    """Whatever grows is the last member of its delta, but for the logprobs of an answer."""
    return "".join(
        delta.text if isinstance(delta, TextDelta) else str(delta[-1]) for delta in deltas
    )


def _next(before: list[JSONObject], kind: str) -> int:
    return 1 + len([item for item in before if item["type"] == kind])


# --- Properties -----------------------------------------------------------------------------------


@given(st.data(), runs())
def test_the_stream_is_well_formed_and_tells_what_the_deltas_said(
    data: st.DataObject, given_run: tuple[list[Delta], Outcome]
) -> None:
    deltas, outcome = given_run
    composer = new_composer()
    stream = decoded(run(composer, data.draw(batched(deltas)), outcome))
    check_stream(stream)
    output = [event["item"] for event in stream if event["type"] == "response.output_item.done"]
    assert output == expected_output(deltas) == json.loads(composer.to_json())["output"]
    assert stream[-1]["type"] == f"response.{outcome.status}" or outcome is CANCELLED
    for item in output:
        check_item(item)


@given(st.data(), runs())
def test_batches_make_no_difference(
    data: st.DataObject, given_run: tuple[list[Delta], Outcome]
) -> None:
    deltas, outcome = given_run
    batches = data.draw(batched(deltas))
    assert run(new_composer(), batches, outcome) == run(new_composer(), [deltas], outcome)


@given(runs())
def test_the_output_is_made_of_the_done_items_byte_for_byte(
    given_run: tuple[list[Delta], Outcome],
) -> None:
    deltas, outcome = given_run
    composer = new_composer()
    events = run(composer, [deltas], outcome)
    whole = b'"output":[%b]}' % b",".join(_items_of(events))
    assert composer.to_json().endswith(whole)
    assert outcome is CANCELLED or whole in events[-1].json


def _items_of(events: Sequence[Event]) -> list[bytes]:
    """The JSON text of each finished item, cut out of its event."""
    done = [event.json for event in events if event.type == "response.output_item.done"]
    return [json.partition(b'"item":')[2].removesuffix(b"}") for json in done]


@given(runs())
def test_usage_is_the_sum_over_the_turns(given_run: tuple[list[Delta], Outcome]) -> None:
    deltas, outcome = given_run
    composer = new_composer()
    run(composer, [deltas], outcome)
    told = [delta.usage for delta in deltas if isinstance(delta, TurnEnd) and delta.usage]
    usage = json.loads(composer.to_json())["usage"]
    assert (usage is None) == (not told)
    if told:
        assert usage["input_tokens"] == sum(each.input_tokens for each in told)
        assert usage["output_tokens"] == sum(each.output_tokens for each in told)
        assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


@given(runs())
def test_the_official_client_comes_to_the_same_response(
    given_run: tuple[list[Delta], Outcome],
) -> None:
    deltas, outcome = given_run
    composer = new_composer()
    events = run(composer, [deltas], outcome)
    if outcome.status is Status.FAILED:
        with pytest.raises(openai.APIError, match=r"Silence\."):
            official_events(events)
        return
    read = official_events(events)
    assert len(read) == len(events)
    if outcome is not CANCELLED:
        final = json.loads(composer.to_json())
        assert read[-1].response.id == final["id"]
        assert [item.id for item in read[-1].response.output] == [i["id"] for i in final["output"]]
        assert read[-1].response.output_text == _answer(final["output"])


def _answer(output: Sequence[JSONObject]) -> str:
    parts = [part for item in output for part in item.get("content", ())]
    return "".join(part["text"] for part in parts if part["type"] == "output_text")
