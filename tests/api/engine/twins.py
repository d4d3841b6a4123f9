"""In-memory twins of what a run leans on: an upstream that says what it is told, and a store."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from apps.api.engine.approvals import Decided
from apps.api.engine.pictures import Pictures
from apps.api.engine.process import Process
from apps.api.engine.recorder import Recorder
from apps.api.engine.runs import Run
from apps.api.engine.toolbox import ToolBox
from apps.api.engine.turns import Turns
from apps.api.protocol.context import Context
from apps.api.protocol.deltas import Delta, TextDelta
from apps.api.protocol.events import Event
from apps.api.protocol.ids import TurnIds
from apps.api.upstream.client import Turn
from apps.api.upstream.errors import UpstreamBroke
from apps.store.errors import StoreUnavailable
from apps.store.responses import Ending
from apps.store.snapshots import RunSnapshot
from tests.api.protocol.runs import STOP, new_composer

T = TypeVar("T")

HELLO: tuple[list[Delta], list[Delta]] = ([TextDelta("Hel")], [TextDelta("lo"), STOP])

PATIENCE = 5


class ScriptedTurn:
    """Gives batches of deltas, raises exceptions, and waits where an event stands."""

    def __init__(self, *steps: Sequence[Delta] | Exception | asyncio.Event) -> None:
        self._steps = iter(steps)
        self._interrupted = asyncio.Event()
        self.waiting = asyncio.Event()
        self.closed = False

    async def read(self) -> list[Delta] | None:
        step = next(self._steps, None)
        if isinstance(step, asyncio.Event):
            self.waiting.set()
            await either(step, self._interrupted)
            return await self.read()
        if self._interrupted.is_set():
            raise UpstreamBroke("The turn was interrupted.")
        if isinstance(step, Exception):
            raise step
        return None if step is None else list(step)

    def interrupt(self) -> None:
        self._interrupted.set()

    async def close(self) -> None:
        self.closed = True


async def either(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waits:
            task.cancel()


class ScriptedUpstream:
    """Accepts one turn, when ``accept`` is set, or refuses it."""

    def __init__(
        self,
        *steps: Sequence[Delta] | Exception | asyncio.Event,
        refusal: Exception | None = None,
        accept: asyncio.Event | None = None,
    ) -> None:
        self.turn = ScriptedTurn(*steps)
        self.refusal, self.accept = refusal, accept
        self.attempts = 0
        self.cancelled = False

    async def open(self, context: Context, *, request_id: str, deadline: float) -> Turn:
        self.attempts += 1
        try:
            if self.accept is not None:
                await self.accept.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        if self.refusal is not None:
            raise self.refusal
        return self.turn


class ScriptedStore:
    """Stands in for the writer: remembers what is written as it was at that moment."""

    def __init__(self) -> None:
        self.writes: list[tuple[str, RunSnapshot]] = []
        self.away = False
        self.lost = False
        self.hold: asyncio.Event | None = None
        self.reached = asyncio.Event()

    async def __call__(self, unit: Callable[..., Any], what: RunSnapshot | Ending) -> bool:
        run = what.run if isinstance(what, Ending) else what
        self.reached.set()
        if self.hold is not None:
            await self.hold.wait()
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailable("away")
        self.writes.append((unit.__name__, copy.copy(run)))
        return not self.lost

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.writes]

    @property
    def end(self) -> RunSnapshot:
        """The one end that was written."""
        [end] = [run for name, run in self.writes if name == "finish_responses"]
        return end


def make_run(upstream: ScriptedUpstream, *, kept: bool = True) -> Run:
    """A run of a small request. To be made in a running loop."""
    snapshot = RunSnapshot(
        id="resp_1",
        project_id=1,
        key_id=None,
        request_id="req_1",
        previous_id=None,
        root_id="resp_1",
        owner="owner",
        model="tiny",
        kept=kept,
        streamed=True,
        created_at=datetime.now(UTC),
        turns=1,
    )
    context = Context(model="tiny", items=[])
    return Run(
        turns=Turns(
            upstream,
            context,
            request_id="req_1",
            deadline=float("inf"),
            ids=TurnIds(),
            most=9,
        ),
        tools=ToolBox(TurnIds(), Pictures(1, kept=kept)),
        decided=Decided(),
        composer=new_composer(),
        recorder=Recorder(
            snapshot,
            input_items=[{"id": "msg_in", "type": "message", "role": "user", "content": []}],
            upstream=upstream,
        ),
    )


def types(events: Sequence[Event]) -> list[str]:
    return [event.type for event in events]


def response_of(event: Event) -> dict[str, Any]:
    """The resource in an event about the whole response."""
    response: dict[str, Any] = json.loads(event.json)["response"]
    return response


async def in_time(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), PATIENCE)


def within(work: Coroutine[Any, Any, T]) -> T:
    async def bounded() -> T:
        return await asyncio.wait_for(work, PATIENCE)

    return asyncio.run(bounded())


async def all_events(run: Run) -> list[Event]:
    await run.start(window=None)
    return [event async for batch in run.events() for event in batch]


async def told(upstream: ScriptedUpstream) -> list[Event]:
    """All events of a run."""
    return await all_events(make_run(upstream))


async def collected(upstream: ScriptedUpstream) -> bytes:
    return await make_run(upstream).collect()


async def settled(process: Process) -> None:
    """Until everything that was to be written is written."""
    while process.active:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0)


async def until(events: AsyncGenerator[list[Event], None], kind: str) -> None:
    async for batch in events:
        if kind in types(batch):
            return
