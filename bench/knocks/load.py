"""All clients together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from bench.knocks.clients import Client, Seen, kinds
from bench.knocks.served import Served

Event = Callable[[], Awaitable[None]]


async def load(
    served: Served,
    mcp_url: str,
    *,
    seconds: float,
    seen: Seen,
    rate: float = 0.0,
    event: Event | None = None,
) -> Seen:
    """Load for a while, ``rate`` requests a second or as fast as they are answered; a third into
    it, something happens."""
    until, every_kind = time.monotonic() + seconds, kinds(mcp_url)
    period = len(every_kind) / rate if rate else 0.0
    clients = [Client(served, kind, seen, period) for kind in every_kind]
    running = [asyncio.create_task(client.run(until)) for client in clients]
    if event is not None:
        await asyncio.sleep(seconds / 3)
        await event()
    await asyncio.gather(*running)
    return seen
