"""A steady load; memory and descriptors over its time."""

from __future__ import annotations

import asyncio
import time

from bench.knocks.clients import Seen
from bench.knocks.load import load
from bench.knocks.served import Processes, Served
from bench.report import Row, table

SAMPLES = 10
REST = 20.0
"""Seconds after the load until everything has let go."""
HEAD = (
    "minute", "answers", "memory of each server, MB", "descriptors", "of the tool host, MB",
    "descriptors ", "sandboxes, MB in all",
)  # fmt: skip


async def soak(served: Served, mcp_url: str, *, minutes: float, rate: float) -> Seen:
    """Prints the samples: one soon after the start, then regularly, and one at rest."""
    seen, began = Seen(), time.monotonic()
    print("\n".join(table(HEAD, []).splitlines()), flush=True)

    def sample() -> None:
        print(f"| {' | '.join(_row(served, seen, time.monotonic() - began))} |", flush=True)

    async def watch() -> None:
        part = minutes * 60 / SAMPLES
        await asyncio.sleep(part / 3)
        sample()
        for number in range(1, SAMPLES):
            await asyncio.sleep(max(0.0, began + number * part - time.monotonic()))
            sample()

    watching = asyncio.create_task(watch())
    await load(served, mcp_url, seconds=minutes * 60, rate=rate, seen=seen)
    await watching
    await asyncio.sleep(REST)
    sample()
    print()
    return seen


def _row(served: Served, seen: Seen, seconds: float) -> Row:
    host, sandboxes = served.tool_host(), served.sandboxes()
    memory = sum(each.memory_info().rss for each in sandboxes) / 1e6
    return (
        f"{seconds / 60:.1f}",
        str(seen.ends.total()),
        *_sizes(served.servers()),
        *_sizes(host),
        f"{len(sandboxes)} with {memory:.0f}",
    )


def _sizes(processes: Processes) -> tuple[str, str]:
    return (
        " + ".join(f"{each.memory_info().rss / 1e6:.0f}" for each in processes),
        " + ".join(str(each.num_fds()) for each in processes),
    )
