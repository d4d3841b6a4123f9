"""What is measured, and what is expected of it. Targets are ratios to the floor of the same run,
but for times that people notice and for errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from bench.load import Figures, Load
from bench.script import Script

Figure: TypeAlias = Callable[[Figures], float]


@dataclass(frozen=True, slots=True)
class Target:
    """A bound for one figure of the gateway, or for its ratio to the floor's."""

    words: str
    figure: Figure
    bound: float
    at_most: bool = False
    of_floor: bool = True

    def met(self, value: float) -> bool:
        return value <= self.bound if self.at_most else value >= self.bound


@dataclass(frozen=True, slots=True)
class Scenario:
    """One load, with what it is for."""

    words: str
    load: Load
    targets: tuple[Target, ...] = ()
    quick: bool = True  #: part of a quick run


PACED = Script(tokens=64, delay=10, stamp=1)

SCENARIOS = (
    Scenario(
        "256 tokens at once, 16 clients",
        Load(script=Script(tokens=256), clients=16),
        (Target("events/s", lambda f: f.events_per_s, 0.6),),
    ),
    Scenario(
        "32 tokens at once, 16 clients",
        Load(script=Script(tokens=32), clients=16),
        (Target("requests/s", lambda f: f.requests_per_s, 0.2),),
    ),
    Scenario(
        "32 tokens, not streamed, 16 clients",
        Load(script=Script(tokens=32), clients=16, streamed=False),
        (Target("requests/s", lambda f: f.requests_per_s, 0.05),),
    ),
    Scenario(
        "64 tokens, 10 ms apart, 64 clients",
        Load(script=PACED, clients=64),
        (
            Target("time of a stream", lambda f: f.took_p50, 1.15, at_most=True),
            Target("lag p50, ms", lambda f: f.lag_p50 * 1000, 8, at_most=True, of_floor=False),
            Target("events per CPU second", lambda f: f.events_per_cpu_s, 0.15),
        ),
    ),
    Scenario(
        "64 tokens, 10 ms apart, 256 clients",
        Load(script=PACED, clients=256),
        (Target("errors", lambda f: f.errors, 0, at_most=True, of_floor=False),),
    ),
    Scenario(
        "256 tokens at once, 1 client", Load(script=Script(tokens=256), clients=1), quick=False
    ),
    Scenario(
        "32 tokens at once, 64 clients", Load(script=Script(tokens=32), clients=64), quick=False
    ),
    Scenario(
        "32 tokens at once, 256 clients", Load(script=Script(tokens=32), clients=256), quick=False
    ),
    Scenario(
        "256 tokens, not streamed, 64 clients",
        Load(script=Script(tokens=256), clients=64, streamed=False),
        quick=False,
    ),
    Scenario("64 tokens, 10 ms apart, 1 client", Load(script=PACED, clients=1), quick=False),
    Scenario(
        "32 tokens of reasoning, 32 of a call, 16 clients",
        Load(script=Script(tokens=32, reasoning=32, tool=1), clients=16),
        quick=False,
    ),
)
