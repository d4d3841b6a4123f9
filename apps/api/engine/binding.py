"""Calls of custom tools follow their grammars, also those that a model chose to make.

vLLM cannot decode them under the grammar. Such a call is held back until it is whole; when its input
does not follow, the model is asked again, and now has to call that tool: its answer is decoded under
the grammar (``protocol/grammars.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import structlog

from apps.api.engine.grammars import follows
from apps.api.protocol.context import Context
from apps.api.protocol.deltas import Delta, Finish, TurnEnd, TurnUsage
from apps.api.protocol.grammars import (
    WrittenCall,
    dictated,
    has_grammar,
    to_be_dictated,
    written_calls,
)
from apps.api.protocol.ids import new_id
from apps.api.protocol.offers import Offers
from apps.api.upstream.client import Turn, Upstream
from apps.api.upstream.errors import UpstreamError, UpstreamRefused

log = structlog.stdlib.get_logger(__name__)


class BindingUpstream:
    """An upstream that keeps calls to their grammars."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    @property
    def attempts(self) -> int:
        return self._upstream.attempts

    async def open(self, context: Context, *, request_id: str, deadline: float) -> Turn:
        def ask(context: Context) -> Awaitable[Turn]:
            return self._upstream.open(context, request_id=request_id, deadline=deadline)

        turn = await ask(context)
        return turn if dictated(context.offers) else BoundTurn(turn, context, ask)


class BoundTurn:
    """One turn, or two that look like one: the first without what it should not have said."""

    def __init__(
        self, turn: Turn, context: Context, ask: Callable[[Context], Awaitable[Turn]]
    ) -> None:
        self._turn, self._context, self._ask = turn, context, ask
        self._held: list[Delta] = []  # from the first call on whose input has a grammar
        self._spent: TurnUsage | None = None  # by the first turn, once it is over
        self._is_second = self._is_interrupted = False
        self._failure: UpstreamError | None = None

    async def read(self) -> list[Delta] | None:
        while True:
            if self._failure is not None:
                raise self._failure
            try:
                deltas = await self._turn.read()
            except UpstreamError as exc:
                if not self._held:
                    raise
                self._failure = exc
                return self._release()
            if deltas is None:
                return None
            if ready := self._summed(deltas) if self._is_second else await self._checked(deltas):
                return ready

    def interrupt(self) -> None:
        self._is_interrupted = True
        self._turn.interrupt()

    async def close(self) -> None:
        await self._turn.close()

    async def _checked(self, deltas: Sequence[Delta]) -> list[Delta]:
        """What may be passed on."""
        ready: list[Delta] = []
        for delta in deltas:
            holds = bool(self._held) or has_grammar(delta, self._context.offers)
            (self._held if holds else ready).append(delta)
        if self._held and isinstance(end := self._held[-1], TurnEnd):
            ready += await self._settled(end)
        return ready

    async def _settled(self, end: TurnEnd) -> list[Delta]:
        """What was held back, up to the first call that does not follow its grammar. What came after
        that is forgotten: it was said on top of something that is not said."""
        if end.finish is not Finish.STOP:
            return self._release()
        call = await asyncio.to_thread(_misfit, self._held, self._context.offers)
        if call is None or not await self._asked_again(call, end.usage):
            return self._release()
        return self._release()[: call.position]

    async def _asked_again(self, call: WrittenCall, spent: TurnUsage | None) -> bool:
        """Whether another turn takes over. An upstream that cannot decode under the grammar leaves
        the input as it is."""
        context = to_be_dictated(self._context, call, ids=new_id)
        if (limit := context.max_output_tokens) is not None:
            left = limit - (spent.output_tokens if spent else 0)
            if left <= 0:
                return False
            context = replace(context, max_output_tokens=left)
        try:
            turn = await self._ask(context)
        except UpstreamRefused as exc:
            if exc.status != 400:
                raise
            log.warning("grammar not kept", tool=call.offer.tool, error=str(exc))
            return False
        first, self._turn = self._turn, turn
        self._spent, self._is_second = spent, True
        if self._is_interrupted:
            turn.interrupt()
        await first.close()
        return True

    def _release(self) -> list[Delta]:
        held, self._held = self._held, []
        return held

    def _summed(self, deltas: list[Delta]) -> list[Delta]:
        """The end of the second turn tells what both have used."""
        if not isinstance(end := deltas[-1], TurnEnd) or self._spent is None or end.usage is None:
            return deltas
        usage = TurnUsage(*map(sum, zip(self._spent, end.usage, strict=True)))
        return [*deltas[:-1], end._replace(usage=usage)]


def _misfit(deltas: Sequence[Delta], offers: Offers) -> WrittenCall | None:
    """The first call whose input does not follow its grammar."""
    for call in written_calls(deltas, offers):
        assert call.offer.grammar is not None
        if not follows(call.input, call.offer.grammar):
            return call
    return None
