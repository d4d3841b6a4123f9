"""How a server process talks to the tool host of its machine: one connection per request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from apps.tools.base import ToolUnavailable
from apps.tools.frames import BrokenFrame, Channel, Frame
from apps.tools.host import socket_path

NOT_RUNNING = (
    "The tool host of this machine does not run. `manage.py serve` starts it; beside another "
    "server, run `manage.py toolhost`."
)
GONE = "The tool host ended in the middle of a call."


class HostRefused(Exception):
    """The host, or one of its services, cannot serve this request. ``kind`` says which way."""

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class HostGone(ToolUnavailable):
    """The host was there and is no more: what it was asked to do may be half done."""


class Talk:
    """The caller's end of a conversation. Iterating gives what the service says, to its end."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    async def send(self, message: Mapping[str, Any], blob: bytes = b"") -> None:
        try:
            await self._channel.send(message, blob)
        except ConnectionError as exc:
            raise HostGone(GONE) from exc

    async def __aiter__(self) -> AsyncIterator[Frame]:
        """Raises HostRefused, HostGone."""
        while True:
            try:
                frame = await self._channel.receive()
            except BrokenFrame as exc:
                raise HostGone(f"{GONE} ({exc})") from exc
            if frame is None:
                raise HostGone(GONE)
            if frame.message.get("end") is True:
                return
            if isinstance(error := frame.message.get("error"), dict) and len(frame.message) == 1:
                raise HostRefused(str(error.get("message")), kind=str(error.get("kind")))
            yield frame


@asynccontextmanager
async def converse(
    service: str, request: Mapping[str, Any], blob: bytes = b""
) -> AsyncIterator[Talk]:
    """Ask a service. Leaving early tells it to stop. Raises ToolUnavailable where no host runs."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket_path()))
    except OSError as exc:
        raise ToolUnavailable(NOT_RUNNING) from exc
    channel = Channel(reader, writer)
    try:
        talk = Talk(channel)
        await talk.send({**request, "service": service}, blob)
        yield talk
    finally:
        await channel.close()


async def ask(service: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """A question with one answer."""
    async with converse(service, request) as talk:
        answers = [frame.message async for frame in talk]
    return answers[-1] if answers else {}
