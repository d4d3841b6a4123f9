"""Clients with bad manners: some that stop reading, some that leave in mid-stream."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import orjson

from bench.connection import Connection
from bench.dialects import request
from bench.load import Answer, Target, ask
from bench.meter import Meter
from bench.script import Script
from bench.verify import Whole

STALLED = 3
ENDLESS = Script(tokens=400_000)
SLOW = Script(tokens=1000, delay=10)
PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class StallFigures:
    """Of clients that never read: bytes of the gateway's memory for each, whether the upstream
    was made to wait for all of them, and the share of the answers that it had sent by then."""

    memory_each: float
    paused: bool
    sent: float


async def stats(upstream: Target) -> dict[str, Any]:
    """What the upstream has counted."""
    whole, connection = Whole(), Connection(upstream.host, upstream.port)
    await connection.ask(b"GET /stats HTTP/1.1\r\n\r\n", whole)
    connection.close()
    counted: dict[str, Any] = orjson.loads(whole.content)
    return counted


async def _until(upstream: Target, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The upstream's counts as soon as a condition holds, or when patience is at its end."""
    deadline = time.monotonic() + PATIENCE
    while True:
        counted = await stats(upstream)
        if holds(counted) or time.monotonic() > deadline:
            return counted
        await asyncio.sleep(0.02)


def _begin(target: Target, script: Script) -> socket.socket:
    """A stream that was asked for, by a client that has not read anything yet."""
    client = socket.create_connection((target.host, target.port))
    host = f"{target.host}:{target.port}"
    client.sendall(request(target.dialect, script, host=host, streamed=True, token=target.token))
    return client


async def stall(target: Target, upstream: Target) -> StallFigures:
    """Open endless streams and read nothing of them."""
    before, meter = await stats(upstream), Meter(target.pid)
    memory = meter.memory()
    clients = [_begin(target, ENDLESS) for _ in range(STALLED)]
    try:
        counted = await _until(upstream, lambda now: now["paused"] >= STALLED)
        figures = StallFigures(
            memory_each=(meter.memory() - memory) / STALLED,
            paused=counted["paused"] >= STALLED,
            sent=(counted["tokens"] - before["tokens"]) / (STALLED * ENDLESS.tokens),
        )
    finally:
        for client in clients:
            client.close()
    await _until(upstream, lambda now: now["aborted"] >= before["aborted"] + STALLED)
    return figures


async def drain(target: Target, *, clients: int = 16) -> list[Answer]:
    """Streams under way when their server is told to stop (SIGTERM), as their clients see them."""
    script = Script(tokens=100, delay=10)
    host = f"{target.host}:{target.port}"
    content = request(target.dialect, script, host=host, streamed=True, token=target.token)
    answers = [Answer(script, target.dialect, True) for _ in range(clients)]
    asked = [
        asyncio.create_task(ask(Connection(target.host, target.port), content, answer))
        for answer in answers
    ]
    deadline = time.monotonic() + PATIENCE
    while not all(each.deltas for each in answers) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    os.kill(target.pid, signal.SIGTERM)
    return list(await asyncio.gather(*asked))


async def leave(target: Target, upstream: Target, *, times: int) -> list[float]:
    """Seconds from a client's leaving to the end of the upstream's connection, each time."""
    took = []
    for _ in range(times):
        before = await stats(upstream)
        with closing(_begin(target, SLOW)) as client:
            client.setblocking(False)
            await _until(upstream, lambda now: now["tokens"] >= before["tokens"] + 5)  # noqa: B023
        left = time.monotonic()
        after = await _until(upstream, lambda now: now["aborted"] > before["aborted"])  # noqa: B023
        took.append(after["aborted_at"] - left if after["aborted_at"] > left else PATIENCE)
    return took
