"""Events to bytes, and the one response class that streams them.

Batches become one write each. Silence is filled with comments, so that proxies and clients keep
the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, TypeAlias

from django.http import StreamingHttpResponse  # noqa: TID251 - this is the one place

from apps.api.conf import conf
from apps.api.protocol.dialects import to_open_responses
from apps.api.protocol.events import Event

Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

DONE = b"data: [DONE]\n\n"
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

    async def serve(self, head: dict[str, Any], send: Send) -> None:
        """Write head and body. Cancelling closes the events' generator, which is started before
        anything is awaited: one that never ran would not notice that it is closed."""
        async with aclosing(self._pieces) as pieces:
            first = await anext(pieces)
            await send(head)
            writer = _Writer(send)
            keeper = asyncio.create_task(writer.keep_alive())
            try:
                await writer.write(first)
                async for piece in pieces:
                    await writer.write(piece)
            finally:
                keeper.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _frames(batches: AsyncGenerator[list[Event], None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(batches):
        async for events in batches:
            yield encode(events)
    yield DONE


class _Writer:
    """Sends pieces in turn, and a comment when none has come for a while."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._clock = asyncio.get_running_loop().time
        self._last = self._clock()
        self._patience = conf.KEEPALIVE_FIRST
        self._waiting = False  # the client does not read: nothing is added to what waits

    async def write(self, piece: bytes) -> None:
        self._waiting = True
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        self._waiting, self._patience = False, conf.KEEPALIVE_FIRST
        self._last = self._clock()

    async def keep_alive(self) -> None:
        """First after a short silence, for impatient proxies; then now and then."""
        while True:
            silence = self._clock() - self._last
            if silence < self._patience:
                await asyncio.sleep(self._patience - silence)
            elif self._waiting:
                await asyncio.sleep(self._patience)
            else:
                await self.write(KEEPALIVE)
                self._patience = conf.KEEPALIVE_EVERY
