"""What clients get from each family of models: every recording against a table checked by hand.

A line of a table in ``families/`` names a case, the ways of asking that lead to the same (``whole``,
``stream``, ``by_7``: streamed seven tokens at a time), the response's status with its error's code, and
the output: ``text``, ``thought`` and ``call NAME``, each with what it says between « and ». U+2424
stands for a line break, ``~`` marks items that are not complete. A comment says why a line is not what
the model meant.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from apps.api.protocol.calls import answered_calls, check_pairs, without_dead_calls
from apps.api.protocol.ids import new_id
from apps.api.protocol.input_items import to_items
from apps.api.protocol.requests import CreateResponse
from apps.api.protocol.types import Item
from apps.api.upstream.call_ids import CallIds, CallIdStyle
from apps.api.upstream.payload import to_messages
from tests.api.upstream.family_recordings import FAMILIES, Played, Recording, play, recordings

TABLES = Path(__file__).parent / "families"
RECORDINGS = list(recordings())

Line = tuple[str, str, str]  # case, way, what the client gets


def lines(family: str) -> Iterator[Line]:
    for line in (TABLES / f"{family}.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            case, ways, rest = line[:26].strip(), line[26:45].split(), line[45:]
            status, output = rest[:21].strip(), rest[21:].strip()
            yield from ((case, way, f"{status}: {output}") for way in ways)


@cache
def table(family: str) -> dict[tuple[str, str], str]:
    return {(case, way): told for case, way, told in lines(family)}


def told(played: Played) -> str:
    """The response as the tables write it."""
    return f"{played.status}: {'  '.join(map(item_told, played.output))}"


def item_told(item: dict[str, Any]) -> str:
    kinds = {"message": "text", "reasoning": "thought", "function_call": "call"}
    mark = "" if item["status"] == "completed" else "~"
    name, said = "", item.get("arguments")
    if said is None:
        said = "".join(part["text"] for part in item["content"])
    else:
        name = f" {item['name']}"
    return f"{kinds[item['type']]}{mark}{name} «{said.replace(chr(10), '␤')}»"


@pytest.mark.parametrize("recording", RECORDINGS, ids=str)
def test_the_client_gets_what_the_table_says(recording: Recording) -> None:
    assert told(play(recording)) == table(recording.family)[recording.case, recording.way]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_table_has_each_recording_of_its_family_once(family: str) -> None:
    listed = [(case, way) for case, way, _ in lines(family)]
    recorded = [(found.case, found.way) for found in RECORDINGS if found.family == family]
    assert sorted(listed) == sorted(recorded)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_item_is_closed_before_the_one_end(family: str) -> None:
    for recording in RECORDINGS:
        if recording.family != family:
            continue
        played = play(recording)
        if played.error:
            continue
        events = [json.loads(event.json) for event in played.events]
        kinds = [event["type"] for event in events]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert kinds.count("response.output_item.added") == len(played.output), recording
        done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
        assert done == played.output, recording
        assert kinds[-1] == f"response.{played.response['status']}", recording


# --- The next turn --------------------------------------------------------------------------------


def continued(output: list[Item]) -> list[Item]:
    """The history after the client has answered every call that is complete."""
    answers = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "ok"}
        for item in output
        if item["type"] == "function_call" and item["status"] == "completed"
    ]
    body = CreateResponse.model_validate({"input": answers})
    items = [*output, *to_items(body.input, new_id)]
    kept: list[Item] = without_dead_calls(items, answered_calls(items), completed=True)  # type: ignore[arg-type]
    check_pairs(kept)
    return kept


def calls_of(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [call for message in messages for call in message.get("tool_calls", ())]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("style", CallIdStyle)
def test_whatever_was_written_is_a_history_that_templates_can_render(
    family: str, style: CallIdStyle
) -> None:
    """Half-written calls are left out, arguments are JSON objects, each call has its own answer."""
    for recording in RECORDINGS:
        if recording.family != family:
            continue
        played = play(recording)
        history = continued(played.output)
        messages = to_messages(history, None, offers=played.offers, call_ids=CallIds(style))
        calls = calls_of(messages)
        complete = [item for item in played.output if item["type"] == "function_call"]
        assert len(calls) == len([item for item in complete if item["status"] == "completed"])
        for call in calls:
            assert isinstance(json.loads(call["function"]["arguments"]), dict), recording
        told_ids = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
        assert told_ids == [call["id"] for call in calls], recording


def found(family: str, case: str, way: str = "stream") -> Recording:
    return next(
        recording
        for recording in RECORDINGS
        if (recording.family, recording.case, recording.way) == (family, case, way)
    )


def test_ids_that_a_model_counts_anew_are_unique_over_turns() -> None:
    """Kimi K2 names its calls functions.NAME:0 in every turn."""
    turns = [play(found("kimi_k2", "tool_one")), play(found("kimi_k2", "tool_two"))]
    calls = [item for turn in turns for item in turn.output]
    assert len({call["call_id"] for call in calls}) == 3
    history = [item for turn in turns for item in continued(turn.output)]
    messages = to_messages(
        history, None, offers=turns[0].offers, call_ids=CallIds(CallIdStyle.INDEXED)
    )
    assert [call["id"] for call in calls_of(messages)] == [
        "functions.get_weather:0",
        "functions.get_weather:1",
        "functions.get_weather:2",
    ]
