"""The results as markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from statistics import median
from typing import TypeAlias

from bench.chains import CONVERSATIONS, ChainFigures
from bench.code_calls import CodeFigures
from bench.load import Answer, Figures
from bench.manners import StallFigures
from bench.mcp_calls import McpFigures
from bench.scenarios import Scenario, Target

PACKAGES = ("django", "daphne", "httpx", "httptools", "uvloop", "psycopg")


@dataclass(frozen=True, slots=True)
class Round:
    """One load on the gateway, on the bare relay and on the floor, right after each other."""

    gateway: Figures
    relay: Figures
    floor: Figures


NONE = "-"

Row: TypeAlias = tuple[str, ...]


def table(head: Row, rows: Iterable[Row]) -> str:
    """A markdown table; all columns but the first are numbers."""
    lines = [head, ("---", *("---:" for _ in head[1:])), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def conditions(*, pinned: bool, database: str, rounds: int) -> str:
    """On what it ran."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    cpus = "a CPU of its own for the gateway" if pinned else "no CPU of its own for the gateway"
    kind = "PostgreSQL" if database else "SQLite"
    busy = " ".join(f"{load:.1f}" for load in os.getloadavg())
    return (
        f"Python {platform.python_version()}, {versions}; {kind}; {os.cpu_count()} CPUs, {cpus}; "
        f"load average at the end {busy}; medians of {rounds} rounds."
    )


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def verdict(met: bool) -> str:
    return "met" if met else "**missed**"


# --- Targets --------------------------------------------------------------------------------------

TARGET_HEAD = ("scenario", "figure", "gateway", "relay", "floor", "ratio", "all rounds", "target",
               "")  # fmt: skip
STALL_LIMIT = 10e6
LEAVE_LIMIT = 0.1
GROWTH_LIMIT, GROWTH_TURNS = 1.5, 60
MCP_LIMIT = 5.0
CODE_LIMITS = {"embedded": 15.0, "Celery": 30.0}
SPARE_LIMIT = 150.0


def target_rows(scenario: Scenario, rounds: Sequence[Round]) -> list[Row]:
    """A line for each target: medians, and how far the rounds' ratios lie apart."""
    return [_target_row(scenario, target, rounds) for target in scenario.targets]


def _target_row(scenario: Scenario, target: Target, rounds: Sequence[Round]) -> Row:
    ours = [target.figure(each.gateway) for each in rounds]
    relay = [target.figure(each.relay) for each in rounds]
    floor = [target.figure(each.floor) for each in rounds]
    ratios = [a / b for a, b in zip(ours, floor, strict=True) if b]
    value = median(ratios if target.of_floor else ours)
    sign = "≤" if target.at_most else "≥"
    return (
        scenario.words,
        target.words,
        number(median(ours)),
        number(median(relay)),
        number(median(floor)),
        f"{median(ratios):.2f}" if ratios else NONE,
        f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else NONE,
        f"{sign} {target.bound:g}{' of the floor' if target.of_floor else ''}",
        verdict(target.met(value)),
    )


def _own_row(scenario: str, figure: str, found: str, target: str, *, met: bool) -> Row:
    """A line for what the floor has no part in."""
    return (scenario, figure, found, NONE, NONE, NONE, NONE, target, verdict(met))


def chain_rows(chain: ChainFigures) -> list[Row]:
    first, figure = chain.first.cpu * 1000, "CPU of the last turns to the first"
    rows: list[Row] = []
    for later in chain.later:
        growth = chain.growth(later)
        words = f"conversation of {later.last} turns"
        found = f"{growth:.2f} ({first:.1f} to {later.cpu * 1000:.1f} ms)"
        if later.last == GROWTH_TURNS:
            met = growth <= GROWTH_LIMIT
            rows.append(_own_row(words, figure, found, f"≤ {GROWTH_LIMIT:g}", met=met))
        else:
            rows.append((words, figure, found, *[NONE] * 6))
        took = f"{ms(chain.first.took)} to {ms(later.took)}"
        rows.append((words, f"ms of {CONVERSATIONS} turns at once", took, *[NONE] * 6))
    errors = _own_row(words, "errors", str(chain.errors), "≤ 0", met=not chain.errors)
    return [*rows, errors]


def leave_rows(took: Sequence[float]) -> list[Row]:
    found = f"{median(took) * 1000:.0f} (at most {max(took) * 1000:.0f})"
    limit = f"≤ {LEAVE_LIMIT * 1000:.0f}"
    words = f"client leaves, {len(took)} times"
    return [_own_row(words, "upstream let go, ms", found, limit, met=max(took) <= LEAVE_LIMIT)]


def drain_rows(answers: Sequence[Answer]) -> list[Row]:
    cut = sum(bool(answer.error) for answer in answers)
    words = f"SIGTERM with {len(answers)} streams under way"
    return [_own_row(words, "cut", str(cut), "≤ 0", met=not cut)]


def scaling_row(load: str, one: Figures, two: Figures) -> Row:
    words = f"{load}, 1 to 2 processes"
    grown = two.requests_per_s / one.requests_per_s
    found = f"{grown:.2f} ({one.requests_per_s:.0f} to {two.requests_per_s:.0f})"
    return (words, "requests/s", found, *[NONE] * 6)


def mcp_rows(calls: McpFigures) -> list[Row]:
    words = f"{calls.calls} MCP calls, one after another"
    more = calls.more * 1000
    found = f"{more:.1f} ({calls.through * 1000:.1f}, directly {calls.direct * 1000:.1f})"
    return [
        _own_row(words, "ms more than directly", found, f"≤ {MCP_LIMIT:g}", met=more <= MCP_LIMIT),
        (words, "ms of CPU more", f"{calls.cpu * 1000:.1f}", *[NONE] * 6),
        _own_row(words, "sessions opened", str(calls.opened), "≤ 1", met=calls.opened <= 1),
    ]


def code_rows(code: CodeFigures) -> list[Row]:
    words, effort = f"code in {code.backend}", code.effort
    own, cold, spare = (ms(median(each)) for each in (code.own, code.cold, code.with_spare))
    cold += f" ({ms(median(code.cold_cpu))} of CPU)"
    calls = f"{words}, {effort.rounds * effort.calls} calls"
    rows = []
    for way, took in code.through.items():
        over, limit = code.over(way) * 1000, CODE_LIMITS[way]
        found = f"{over:.1f} ({ms(median(took))}, the sandbox itself {own})"
        rows.append(_own_row(calls, f"{way}: ms more than the sandbox itself", found,
                             f"≤ {limit:g}", met=over <= limit))  # fmt: skip
    met = median(code.with_spare) * 1000 <= SPARE_LIMIT
    rows.append(
        _own_row(words, "first call with a spare, ms", spare, f"≤ {SPARE_LIMIT:g}", met=met)
    )
    each = f"{code.idle / (1 << 20):.0f} ({(1 << 30) / code.idle:.1f} in a GiB)"
    count = f"{words}, {effort.containers} containers in turn"
    turns = f"{ms(median(code.in_turn))}, {ms(median(code.again))}"
    return [
        *rows,
        (words, "start without a spare to the first result, ms", cold, *[NONE] * 6),
        (words, "memory of an idle container, MiB", each, *[NONE] * 6),
        (count, "first call, and the next one, ms", turns, *[NONE] * 6),
        (count, "variables lost", str(code.forgotten), *[NONE] * 6),
    ]


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}" if seconds < 0.1 else f"{seconds * 1000:,.0f}"


def mcp_load_rows(clients: int, figures: Figures, *, calls: int, sessions: int) -> list[Row]:
    """``calls`` and ``sessions`` are what the server has seen."""
    words = f"{clients} responses at once, two MCP calls each"
    errors = f"{figures.errors} of {figures.errors + figures.requests}"
    return [
        (words, "responses/s", f"{figures.requests_per_s:.0f}", *[NONE] * 6),
        (words, "s of a response, p50", f"{figures.took_p50:.2f}", *[NONE] * 6),
        _own_row(words, "errors", errors, "0", met=figures.errors == 0),
        _own_row(words, f"sessions for {calls} calls", str(sessions), "≤ 1", met=sessions <= 1),
    ]


def stall_rows(stalled: StallFigures) -> list[Row]:
    found = f"{stalled.memory_each / 1e6:.1f}"
    words = "clients that never read"
    return [
        _own_row(words, "memory of each, MB", found, f"≤ {STALL_LIMIT / 1e6:.0f}",
                 met=stalled.memory_each <= STALL_LIMIT),
        _own_row(words, "upstream waits", f"after {stalled.sent:.0%}", "yes", met=stalled.paused),
    ]  # fmt: skip


# --- Figures --------------------------------------------------------------------------------------

COLUMNS: dict[str, Callable[[Figures], float]] = {
    "requests/s": lambda f: f.requests_per_s,
    "events/s": lambda f: f.events_per_s,
    "events per CPU s": lambda f: f.events_per_cpu_s,
    "CPU ms per request": lambda f: f.cpu_per_request * 1000,
    "first token p50, ms": lambda f: f.ttft_p50 * 1000,
    "p99": lambda f: f.ttft_p99 * 1000,
    "stream p50, ms": lambda f: f.took_p50 * 1000,
    "lag p50, ms": lambda f: f.lag_p50 * 1000,
    "p99 ": lambda f: f.lag_p99 * 1000,
    "peak RSS, MB": lambda f: f.peak_memory / 1e6,
    "errors": lambda f: f.errors,
}


def figures_table(scenario: Scenario, rounds: Sequence[Round]) -> str:
    """All figures of one scenario: medians over the rounds."""
    return table((scenario.words, *COLUMNS), [
        _figures_row("gateway", [each.gateway for each in rounds]),
        _figures_row("relay", [each.relay for each in rounds]),
        _figures_row("floor", [each.floor for each in rounds]),
    ])  # fmt: skip


def _figures_row(name: str, rounds: Sequence[Figures]) -> Row:
    values = (median(map(column, rounds)) for column in COLUMNS.values())
    return (name, *(number(value) if value else NONE for value in values))
