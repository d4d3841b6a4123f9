"""The load generator: some clients, each sending its next request when the last was answered.

Nothing is parsed that can be searched; still each answer must have come to its end with the right
number of tokens, or it counts as an error.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.connection import Broken, Connection
from bench.dialects import Dialect, request
from bench.meter import Meter
from bench.script import Script


@dataclass(frozen=True, slots=True)
class Target:
    """What is put under load, and the process that is measured meanwhile; ``helper`` is one that
    belongs to it."""

    name: str
    port: int
    dialect: Dialect
    pid: int
    token: str = ""
    host: str = "127.0.0.1"
    helper: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """``clients`` at once, for ``seconds``; what was asked for by then is waited for. ``tools`` are
    the hosted ones."""

    script: Script
    clients: int
    streamed: bool = True
    seconds: float = 2.0
    tools: tuple[dict[str, Any], ...] = ()


@dataclass(slots=True)
class Answer:
    """One answer, and when its parts came. Times are in seconds since the request."""

    script: Script
    dialect: Dialect
    streamed: bool
    began: float = field(default_factory=time.perf_counter)
    first_token: float | None = None
    took: float = 0.0
    status: int = 0
    events: int = 0
    deltas: int = 0
    complete: bool = False
    lags: list[float] = field(default_factory=list)
    first: bytes = b""
    error: str = ""
    _rest: bytes = b""

    def head(self, status: int) -> None:
        self.status = status

    def body(self, data: bytes) -> None:
        self.first = self.first or data
        if not self.streamed or self.status != 200:
            self._rest += data
            self.complete = self.dialect.whole in self._rest
            return
        data = self._rest + data if self._rest else data
        end = data.rfind(b"\n\n") + 2
        events, self._rest = data[:end], data[end:]
        self.events += events.count(b"\n\n")
        if deltas := sum(map(events.count, self.dialect.deltas)):
            self._tokens(events, deltas)
        self.complete = self.complete or self.dialect.streamed in events

    def _tokens(self, events: bytes, deltas: int) -> None:
        if self.first_token is None:
            self.first_token = time.perf_counter() - self.began
        self.deltas += deltas
        if self.script.stamp:
            now = time.monotonic_ns() / 1000
            self.lags += [(now - int(sent)) / 1e6 for sent in self.dialect.stamp.findall(events)]

    def end(self, error: str = "") -> None:
        """Judge it."""
        self.took = time.perf_counter() - self.began
        if error:
            self.error = error
        elif self.status != 200:
            self.error = f"HTTP {self.status}: {self._rest[:200].decode(errors='replace')}"
        elif not self.complete:
            self.error = "the answer has no end"
        elif self.streamed and self.deltas != self.script.deltas:
            self.error = f"{self.deltas} of {self.script.deltas} tokens"


@dataclass(frozen=True, slots=True)
class Figures:
    """What a load gave. Times are in seconds; a share of nothing is 0."""

    requests: int
    errors: int
    first_error: str
    requests_per_s: float
    events_per_s: float
    events_per_cpu_s: float
    cpu_per_request: float
    ttft_p50: float
    ttft_p99: float
    took_p50: float
    lag_p50: float
    lag_p99: float
    peak_memory: int


def quantile(values: Iterable[float], share: float) -> float:
    """The value below which that share of the values lies; 0 when there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


async def ask(connection: Connection, content: bytes, answer: Answer) -> Answer:
    """One request and its answer, judged."""
    try:
        await connection.ask(content, answer)
    except Broken as exc:
        answer.end(str(exc))
    else:
        answer.end()
    return answer


async def drive(target: Target, load: Load) -> Figures:
    """Put a target under load, after one request of each client that is not counted."""
    content = request(
        target.dialect,
        load.script,
        host=f"{target.host}:{target.port}",
        streamed=load.streamed,
        token=target.token,
        tools=load.tools,
    )
    connections = [Connection(target.host, target.port) for _ in range(load.clients)]

    async def client(connection: Connection, until: float) -> list[Answer]:
        answers: list[Answer] = []
        while not answers or time.perf_counter() < until:
            answer = Answer(load.script, target.dialect, load.streamed)
            answers.append(await ask(connection, content, answer))
        return answers

    try:
        await asyncio.gather(*[client(each, 0) for each in connections])
        gc.collect()
        began = time.perf_counter()
        with Meter(target.pid) as meter:
            all_answers = await asyncio.gather(
                *[client(each, began + load.seconds) for each in connections]
            )
        seconds = time.perf_counter() - began
    finally:
        for each in connections:
            each.close()
    return _figures([a for answers in all_answers for a in answers], seconds, meter)


def _figures(answers: Sequence[Answer], seconds: float, meter: Meter) -> Figures:
    good = [answer for answer in answers if not answer.error]
    events = sum(answer.events for answer in good)
    firsts = [answer.first_token for answer in good if answer.first_token is not None]
    lags = [lag for answer in good for lag in answer.lags]
    cpu = meter.cpu_seconds
    return Figures(
        requests=len(good),
        errors=len(answers) - len(good),
        first_error=next((answer.error for answer in answers if answer.error), ""),
        requests_per_s=len(good) / seconds,
        events_per_s=events / seconds,
        events_per_cpu_s=events / cpu if cpu else 0.0,
        cpu_per_request=cpu / len(good) if good else 0.0,
        ttft_p50=quantile(firsts, 0.5),
        ttft_p99=quantile(firsts, 0.99),
        took_p50=quantile([answer.took for answer in good], 0.5),
        lag_p50=quantile(lags, 0.5),
        lag_p99=quantile(lags, 0.99),
        peak_memory=meter.peak_memory,
    )
