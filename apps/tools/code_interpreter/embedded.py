"""Has code run in the tool host of this machine. The other end is ``host_service.py``."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from typing import Any

from apps.tools.base import ToolUnavailable
from apps.tools.code_interpreter.calls import (
    Call,
    Failed,
    NodeEvent,
    Placed,
    TransferFailed,
    from_message,
    is_end,
    to_message,
)
from apps.tools.code_interpreter.contract import ContainerFiles
from apps.tools.code_interpreter.sandbox import Started
from apps.tools.frames import Frame
from apps.tools.host_client import HostRefused, Talk, ask, converse

SERVICE = "code_interpreter"
SPOOLED = 8 << 20
"""Bytes of a file that stay in memory on its way."""


class HostNode:
    """The one node of a machine without a broker."""

    async def status(self) -> list[dict[str, Any]]:
        return [await self._ask({"do": "status"})]

    async def discard(self, container_id: str) -> None:
        await self._ask({"do": "discard", "container_id": container_id})

    async def close(self) -> None:
        """There is a connection for each call."""

    @staticmethod
    async def _ask(request: dict[str, Any]) -> dict[str, Any]:
        try:
            return await ask(SERVICE, request)
        except HostRefused as exc:
            raise ToolUnavailable(str(exc)) from exc

    async def run(self, call: Call, files: ContainerFiles) -> AsyncGenerator[NodeEvent, None]:
        started = False
        call = replace(call, epoch=max(1, call.epoch))  # it never moves from here
        try:
            async with converse(SERVICE, {"do": "run", "call": call.to_json()}) as talk:
                yield Placed(platform.node()[:64], call.epoch)
                frames = aiter(talk)
                async for frame in frames:
                    if "event" not in frame.message:
                        await _carry(frame, talk, frames, files)
                        continue
                    event = from_message(*frame)
                    started = started or isinstance(event, Started)
                    yield event
                    if is_end(event):
                        return
            message = "The tool host left a call without an end."
        except (ToolUnavailable, HostRefused) as exc:
            message = str(exc)
        yield Failed("lost" if started else "unavailable", message)


async def _carry(
    frame: Frame, talk: Talk, frames: AsyncIterator[Frame], files: ContainerFiles
) -> None:
    """Bring the file that the host asks for, or take the one that it has."""
    try:
        if (file_id := frame.message.get("fetch")) is not None:
            async for piece in files.read(file_id):
                await talk.send({"piece": True}, piece)
            await talk.send({"last": True})
        else:
            await _take(frame, talk, frames, files)
    except TransferFailed as exc:
        await talk.send({"problem": str(exc)})


async def _take(
    frame: Frame, talk: Talk, frames: AsyncIterator[Frame], files: ContainerFiles
) -> None:
    path, size = frame.message["save"], 0
    with tempfile.SpooledTemporaryFile(SPOOLED) as content:
        async for piece in frames:
            if "problem" in piece.message:
                return
            if "last" in piece.message:
                break
            size += content.write(piece.blob)
        content.seek(0)
        saved = await files.write(path, content, size)
        await talk.send({"saved": to_message(saved)[0]})
