"""The upstream calls of one run, one after another, and what ends them from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson

from apps.api.engine.turn import Opening
from apps.api.errors import ApiError
from apps.api.protocol.composer import ResponseComposer
from apps.api.protocol.context import Context
from apps.api.protocol.ids import TurnIds
from apps.api.protocol.items.base import OutputItem
from apps.api.protocol.types import Item
from apps.api.upstream.client import Upstream


class Turns:
    """``context`` is what the next turn will see; ``interrupted`` is set, and ``interruption``
    tells why, when the run is ended from outside."""

    def __init__(
        self,
        upstream: Upstream,
        context: Context,
        *,
        request_id: str,
        deadline: float,
        ids: TurnIds,
        most: int,
    ) -> None:
        self.context, self.deadline = context, deadline
        self.count = 0
        self.interruption: ApiError | None = None
        self.interrupted = asyncio.Event()
        self.opening: Opening | None = None
        self._upstream, self._request_id = upstream, request_id
        self._ids, self._most = ids, most
        self._told = 0  # of the output, what the context has
        self._limit = context.max_output_tokens

    @property
    def accepted(self) -> bool:
        """Whether the upstream has taken the present turn."""
        return self.opening is not None and self.opening.accepted

    def ask(self) -> Opening:
        """The turn that was asked for at the start, else a new one."""
        if self.opening is None:
            self._ids.next_turn()
            self.count += 1
            self.opening = Opening(
                self._upstream, self.context, request_id=self._request_id, deadline=self.deadline
            )
            if self.interruption is not None:
                self.opening.interrupt(self.interruption)
        return self.opening

    def advance(self, composer: ResponseComposer, pictures: Mapping[str, str]) -> bool:
        """Make the output so far part of the context, and ready for another turn. ``pictures``
        are what it refers to. False when the client's limit of tokens leaves nothing for it."""
        self.opening = None
        ours = composer.may_run and self.count + 1 < self._most
        offers = self.context.offers.for_later_turn(ours=ours)
        composer.next_turn(offers)
        left = self._tokens_left(composer)
        if left == 0:
            return False
        self.context = replace(
            self.context,
            items=[*self.context.items, *self._news(composer.output)],
            media={**self.context.media, **pictures},
            offers=offers,
            max_output_tokens=left,
        )
        return True

    def _news(self, output: Sequence[OutputItem]) -> list[Item]:
        news = output[self._told :]
        self._told = len(output)
        return [orjson.loads(item.to_stored()) for item in news]

    def _tokens_left(self, composer: ResponseComposer) -> int | None:
        if self._limit is None:
            return None
        used = composer.usage.output_tokens if composer.usage else 0
        return max(0, self._limit - used)

    def interrupt(self, error: ApiError) -> None:
        """End whatever is under way: who waits for it gets an UpstreamError, whose place
        ``error`` takes."""
        self.interruption = error
        self.interrupted.set()
        if self.opening is not None:
            self.opening.interrupt(error)

    async def close(self) -> None:
        """Let go of the upstream. May be called again."""
        if self.opening is not None:
            await self.opening.close()
