"""Conversations by ``previous_response_id``: what a turn costs early and late in them."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass

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
class ChainFigures:
    """Seconds per turn of the first turns that have a past, and of the last."""

    turns: int
    first_cpu: float
    last_cpu: float
    first_took: float
    last_took: float
    errors: int

    @property
    def growth(self) -> float:
        return self.last_cpu / self.first_cpu


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


async def converse(target: Target, *, turns: int) -> ChainFigures:
    """Some conversations side by side, turn by turn."""
    conversations = [_Conversation(target) for _ in range(CONVERSATIONS)]
    meter = Meter(target.pid)
    cpu, errors, began = [meter.cpu()], 0, [time.perf_counter()]
    for _ in range(turns):
        answers = await asyncio.gather(*[each.turn() for each in conversations])
        errors += sum(bool(answer.error) for answer in answers)
        cpu.append(meter.cpu())
        began.append(time.perf_counter())
    for each in conversations:
        each.close()
    count = SPAN * CONVERSATIONS
    return ChainFigures(
        turns=turns,
        first_cpu=(cpu[1 + SPAN] - cpu[1]) / count,
        last_cpu=(cpu[-1] - cpu[-1 - SPAN]) / count,
        first_took=(began[1 + SPAN] - began[1]) / SPAN,
        last_took=(began[-1] - began[-1 - SPAN]) / SPAN,
        errors=errors,
    )
