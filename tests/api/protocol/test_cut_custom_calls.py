"""A custom call that was cut off: half of a script or a patch must not look like a whole one."""

from __future__ import annotations

import json

import pytest

from apps.api.protocol.composer import Outcome, ResponseComposer
from apps.api.protocol.deltas import Delta, Finish, ToolCallArguments, ToolCallStart, TurnEnd
from apps.api.protocol.events import ErrorDetail
from apps.api.protocol.offers import Offers
from apps.api.protocol.requests import CreateResponse
from apps.api.protocol.response import IncompleteDetails, Status, new_response
from apps.api.protocol.types import JSONObject

LIMIT = Outcome(
    status=Status.INCOMPLETE, at=1, reason=IncompleteDetails(reason="max_output_tokens")
)
BROKEN = Outcome(
    status=Status.FAILED,
    at=1,
    error=ErrorDetail(type="server_error", code="server_error", message="It broke.", param=None),
)
TURN_CUT = TurnEnd(Finish.LENGTH, None)


def stream(arguments: str, outcome: Outcome) -> list[JSONObject]:
    """The events of a response that ended while it called a custom tool."""
    body = CreateResponse.model_validate(
        {"model": "tiny", "input": "Hi", "tools": [{"type": "custom", "name": "exec"}]}
    )
    composer = ResponseComposer(
        new_response(body, id="resp_1", model="tiny", created_at=0),
        ids=lambda prefix: f"{prefix}_1",
        offers=Offers(body.declared),
    )
    deltas: list[Delta] = [ToolCallStart(0, "exec"), ToolCallArguments(0, arguments)]
    events = composer.start() + composer.feed(deltas)
    if outcome is LIMIT:
        events += composer.feed([TURN_CUT])
    events += composer.finish(outcome) + composer.announce()
    return [json.loads(event.json) for event in events]


def kinds(events: list[JSONObject]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events[2:]]


@pytest.mark.parametrize(
    ("outcome", "end"), [(LIMIT, ["incomplete"]), (BROKEN, ["error", "failed"])]
)
def test_a_cut_input_is_never_announced_as_done(outcome: Outcome, end: list[str]) -> None:
    events = stream('{"input": "rm -rf build', outcome)
    assert kinds(events) == ["output_item.added", "custom_tool_call_input.delta", *end]
    (item,) = events[-1]["response"]["output"]
    assert (item["status"], item["input"]) == ("incomplete", "rm -rf build")


@pytest.mark.parametrize("outcome", [LIMIT, BROKEN])
def test_an_input_that_was_whole_before_the_end_is_done(outcome: Outcome) -> None:
    events = stream('{"input": "ls"', outcome)
    assert "output_item.done" in kinds(events)
    assert events[-1]["response"]["output"][0]["input"] == "ls"
