"""What becomes of the names that models call, and of calls that the client's choice forbids."""

from __future__ import annotations

from typing import Any

import pytest

from apps.api.protocol.composer import ResponseComposer
from apps.api.protocol.deltas import Finish, ToolCallArguments, ToolCallStart, TurnEnd
from apps.api.protocol.ids import new_id
from apps.api.protocol.items.base import OutputItem
from apps.api.protocol.offers import Offers
from apps.api.protocol.requests import CreateResponse
from apps.api.protocol.response import new_response

TOOLS = [{"type": "function", "name": name} for name in ("get_weather", "now")]
STOP = TurnEnd(Finish.STOP, None)


def composer(**request: Any) -> ResponseComposer:
    body = CreateResponse.model_validate({"input": "go", "tools": TOOLS, **request})
    made = ResponseComposer(
        new_response(body, id="resp_1", model="tiny", created_at=1),
        ids=new_id,
        offers=Offers(body.declared, body.tool_choice),
    )
    made.start()
    return made


def called(item: OutputItem) -> tuple[str, str]:
    body = item.model_dump()
    return body["name"], body["arguments"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("get_weather", "get_weather"),
        ("get_weather<|channel|>commentary", "get_weather"),
        ("get_weather <|constrain|>json", "get_weather"),
        ("functions.get_weather", "get_weather"),
        ("functions.get_weather<|channel|>", "get_weather"),
        ("no_such_tool<|channel|>", "no_such_tool<|channel|>"),
        ("functions.no_such_tool", "functions.no_such_tool"),
    ],
)
def test_markup_around_a_name_is_cut_off_when_the_rest_is_declared(name: str, told: str) -> None:
    made = composer()
    made.feed([ToolCallStart(0, name), ToolCallArguments(0, "{}"), STOP])
    assert [called(call) for call in made.calls] == [(told, "{}")]


def test_calls_that_are_forbidden_are_dropped_with_their_arguments() -> None:
    made = composer(tool_choice="none")
    made.feed([ToolCallStart(0, "now"), ToolCallArguments(0, "{}"), STOP])
    assert [item.model_dump()["type"] for item in made.output] == ["message"]


def test_a_call_of_a_later_turn_is_whole_after_one_that_was_forbidden() -> None:
    allowed = {"type": "function", "name": "now"}
    made = composer(
        tool_choice={"type": "allowed_tools", "mode": "auto", "tools": [allowed]},
    )
    made.feed([ToolCallStart(0, "get_weather"), ToolCallArguments(0, '{"city": "Rome"}'), STOP])
    made.feed([ToolCallStart(0, "now"), ToolCallArguments(0, '{"zone": "utc"}'), STOP])
    assert [called(call) for call in made.calls] == [("now", '{"zone": "utc"}')]
