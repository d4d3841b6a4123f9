"""The turn behind a turn: what ends one ends the other."""

from __future__ import annotations

import asyncio

import pytest

from apps.api.engine.binding import BindingUpstream
from apps.api.protocol.context import Context
from apps.api.protocol.deltas import (
    Delta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    TurnEnd,
    TurnUsage,
)
from apps.api.protocol.offers import Offers
from apps.api.protocol.tools import CustomTool
from apps.api.upstream.client import Turn
from apps.api.upstream.errors import UpstreamBroke
from tests.api.engine.twins import ScriptedTurn
from tests.api.protocol.runs import STOP

DIGITS = CustomTool.model_validate(
    {
        "type": "custom",
        "name": "code",
        "format": {"type": "grammar", "syntax": "regex", "definition": "[0-9]+"},
    }
)
CONTEXT = Context(model="tiny", items=[], offers=Offers([DIGITS]))
WRONG: list[Delta] = [ToolCallStart(0, "code"), ToolCallArguments(0, '{"input":"x"}'), STOP]


class TwoTurns:
    """An upstream that is asked twice, and the second time waits until it may answer."""

    def __init__(self, first: ScriptedTurn, second: ScriptedTurn) -> None:
        self.turns = [first, second]
        self.may_answer, self.asked = asyncio.Event(), asyncio.Event()
        self.attempts = 0

    async def open(self, context: Context, *, request_id: str, deadline: float) -> Turn:
        self.attempts += 1
        if self.attempts == 2:
            self.asked.set()
            await self.may_answer.wait()
        return self.turns[self.attempts - 1]


def test_both_turns_are_closed() -> None:
    async def run() -> None:
        upstream = TwoTurns(ScriptedTurn(WRONG), ScriptedTurn([TextDelta("1"), STOP]))
        upstream.may_answer.set()
        binding = BindingUpstream(upstream)
        turn = await binding.open(CONTEXT, request_id="", deadline=0)
        text, end = await turn.read() or []
        assert (text, await turn.read()) == (TextDelta("1"), None)
        assert isinstance(end, TurnEnd)
        assert end.usage == TurnUsage(*(2 * count for count in STOP.usage or ()))
        await turn.close()
        assert [turn.closed for turn in upstream.turns] == [True, True]
        assert binding.attempts == 2

    asyncio.run(run())


def test_an_interruption_meets_the_second_turn_too() -> None:
    async def run() -> None:
        upstream = TwoTurns(ScriptedTurn(WRONG), ScriptedTurn([TextDelta("1"), STOP]))
        turn = await BindingUpstream(upstream).open(CONTEXT, request_id="", deadline=0)
        reading = asyncio.create_task(turn.read())
        await upstream.asked.wait()
        turn.interrupt()
        upstream.may_answer.set()
        with pytest.raises(UpstreamBroke):
            await reading

    asyncio.run(run())


def test_what_was_held_back_comes_before_the_error() -> None:
    async def run() -> None:
        held = WRONG[:2]
        upstream = TwoTurns(ScriptedTurn(held, UpstreamBroke("broken")), ScriptedTurn())
        turn = await BindingUpstream(upstream).open(CONTEXT, request_id="", deadline=0)
        assert await turn.read() == held
        for _ in range(2):
            with pytest.raises(UpstreamBroke):
                await turn.read()

    asyncio.run(run())
