"""Calls that tell of their progress while they run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any


async def beats(work: asyncio.Task[Any], progressed: asyncio.Event) -> AsyncGenerator[None, None]:
    """Yields whenever the event is set, until the work is done. Whose work it is ends it."""
    while not work.done():
        news = asyncio.create_task(progressed.wait())
        try:
            await asyncio.wait({work, news}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            news.cancel()
        if progressed.is_set():
            progressed.clear()
            yield
