"""Events to bytes, and the one response class that streams them.

Batches become one write each. Silence is filled with comments, so that proxies and clients keep
the connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, TypeAlias

from django.http import StreamingHttpResponse  # noqa: TID251 - this is the one place

from apps import metrics
from apps.api.conf import conf
from apps.api.protocol.dialects import to_open_responses
from apps.api.protocol.events import TERMINAL, Event

Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

DONE = b"data: [DONE]\n\n"
ENDS = frozenset(TERMINAL.values())
KEEPALIVE = b": keep-alive\n\n"


def encode(events: Iterable[Event]) -> bytes:
    """The frames of some events: name, data, blank line, LF only."""
    if conf.EVENT_DIALECT == "openresponses":
        events = map(to_open_responses, events)
    return b"".join([b"event: %b\ndata: %b\n\n" % (e.type.encode(), e.json) for e in events])


class EventStream(StreamingHttpResponse):
    """A response made of events. ``serve`` writes it to the server directly; any other way of
    reading it works too, without keepalives."""

    def __init__(self, batches: AsyncGenerator[list[Event], None]) -> None:
        self._pieces = _frames(batches)
        super().__init__(self._pieces, content_type="text/event-stream; charset=utf-8")
        self["Cache-Control"] = "no-cache, no-transform"
        self["X-Accel-Buffering"] = "no"

    async def serve(self, head: dict[str, Any], send: Send, *, began: float) -> None:
        """Write head and body of the answer to a request that ``began`` then (on the performance
        counter). Cancelling closes the events' generator, which is started before
        anything is awaited: one that never ran would not notice that it is closed."""
        async with aclosing(self._pieces) as pieces:
            first = await anext(pieces)
            await send(head)
            writer = _Writer(send)
            metrics.streams_open.change(+1)
            try:
                await writer.write(first)
                metrics.first_event_seconds.observe(time.perf_counter() - began)
                async for piece in pieces:
                    await writer.write(piece)
            finally:
                writer.close()
                metrics.streams_open.change(-1)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _frames(batches: AsyncGenerator[list[Event], None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(batches):
        async for events in batches:
            frames = encode(events)
            yield frames + DONE if events[-1].type in ENDS else frames


class _Writer:
    """Sends pieces in turn, and a comment when none has come for a while: first after a short
    silence, for impatient proxies, then now and then."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._patience = conf.KEEPALIVE_FIRST
        self._waiting = False  # the client does not read: nothing is added to what waits
        self._comment: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(self._patience, self._ring)

    async def write(self, piece: bytes) -> None:
        self._waiting = True
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        self._waiting, self._patience = False, conf.KEEPALIVE_FIRST
        self._last = self._loop.time()

    def close(self) -> None:
        self._timer.cancel()
        if self._comment is not None:
            self._comment.cancel()

    def _ring(self) -> None:
        """Mostly too early: what was written meanwhile has moved the limit."""
        silence = self._loop.time() - self._last
        left = self._patience - silence
        if left <= 0:
            left = self._patience
            if not self._waiting:
                self._comment = self._loop.create_task(self._keep_alive())
                left = conf.KEEPALIVE_EVERY
        self._timer = self._loop.call_later(left, self._ring)

    async def _keep_alive(self) -> None:
        await self.write(KEEPALIVE)
        self._patience = conf.KEEPALIVE_EVERY
