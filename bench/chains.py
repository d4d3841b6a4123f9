"""Conversations by ``previous_response_id``: what a turn costs early and late in them."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from bench.connection import Connection
from bench.dialects import request
from bench.load import Answer, Target, ask
from bench.meter import Meter
from bench.script import Script

CONVERSATIONS = 4
SCRIPT = Script(tokens=32)
TEXT = "lorem ipsum dolor sit amet " * 40  # about 1 KB per turn
SPAN = 10
"""Turns over which the cost is averaged: CPU time is counted in hundredths of a second."""

RESPONSE_ID = re.compile(rb'"id":"(resp_[0-9a-f]+)"')


@dataclass(frozen=True, slots=True)
class Stretch:
    """The turns that end with ``last``: seconds of CPU and of the clock for one of them."""

    last: int
    cpu: float
    took: float


@dataclass(frozen=True, slots=True)
class ChainFigures:
    """The first turns that have a past, and later ones."""

    first: Stretch
    later: tuple[Stretch, ...]
    errors: int

    def growth(self, stretch: Stretch) -> float:
        return stretch.cpu / self.first.cpu


class _Conversation:
    def __init__(self, target: Target) -> None:
        self._target = target
        self._connection = Connection(target.host, target.port)
        self._previous: str | None = None

    async def turn(self) -> Answer:
        target = self._target
        content = request(
            target.dialect,
            SCRIPT,
            host=f"{target.host}:{target.port}",
            streamed=True,
            token=target.token,
            text=TEXT,
            previous=self._previous,
        )
        answer = await ask(self._connection, content, Answer(SCRIPT, target.dialect, True))
        found = RESPONSE_ID.search(answer.first)
        self._previous = found[1].decode() if found else None
        return answer

    def close(self) -> None:
        self._connection.close()


async def converse(target: Target, *, until: Sequence[int], rounds: int) -> ChainFigures:
    """Conversations from their start to the last turn of ``until``, in ascending order. Figures
    are of the first turns and of those that end with each of ``until``."""
    done = [await _converse(target, turns=until[-1]) for _ in range(rounds)]

    def stretch(last: int) -> Stretch:
        return Stretch(
            last,
            cpu=mean(each.cpu[last] - each.cpu[last - SPAN] for each in done)
            / SPAN
            / CONVERSATIONS,
            took=mean(each.clock[last] - each.clock[last - SPAN] for each in done) / SPAN,
        )

    later, errors = tuple(map(stretch, until)), sum(each.errors for each in done)
    return ChainFigures(stretch(1 + SPAN), later, errors)


@dataclass(slots=True)
class _Course:
    """Seconds of CPU and of the clock at the start, and after each turn."""

    cpu: list[float]
    clock: list[float]
    errors: int = 0


async def _converse(target: Target, *, turns: int) -> _Course:
    """Some conversations side by side, turn by turn."""
    conversations = [_Conversation(target) for _ in range(CONVERSATIONS)]
    meter = Meter(target.pid)
    course = _Course([meter.cpu()], [time.perf_counter()])
    for _ in range(turns):
        answers = await asyncio.gather(*[each.turn() for each in conversations])
        course.errors += sum(bool(answer.error) for answer in answers)
        course.cpu.append(meter.cpu())
        course.clock.append(time.perf_counter())
    for each in conversations:
        each.close()
    return course
