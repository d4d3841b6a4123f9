"""Services for tests of the tool host, and a host that runs beside a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from apps.tools.frames import Frame
from apps.tools.host import Conversation, Service, ServiceError, ToolHost


class Echo:
    """Does what the request's ``do`` says."""

    name = "echo"

    def __init__(self) -> None:
        self.started = self.stopped = False
        self.waiting, self.left = asyncio.Event(), asyncio.Event()

    @classmethod
    def wanted(cls) -> bool:
        return True

    async def start(self) -> None:
        self.started = True

    async def stop(self) -> None:
        self.stopped = True

    def status(self) -> Mapping[str, Any]:
        return {"started": self.started}

    async def handle(self, request: Frame, conversation: Conversation) -> None:
        match request.message["do"]:
            case "say":
                await conversation.send({"said": request.message["word"]}, request.blob)
            case "talk":
                while (frame := await conversation.receive()).message:
                    await conversation.send({"heard": frame.message}, frame.blob)
            case "refuse":
                raise ServiceError("Not today.", kind="closed")
            case "break":
                raise RuntimeError("a secret")
            case "wait":
                self.waiting.set()
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    self.left.set()


@asynccontextmanager
async def hosting(path: Path, services: Sequence[Service]) -> AsyncIterator[asyncio.Task[None]]:
    """A tool host that answers; gone afterwards."""
    ready = asyncio.Event()
    serving = asyncio.create_task(ToolHost(path, services).serve(ready))
    readiness = asyncio.create_task(ready.wait())
    await asyncio.wait({serving, readiness}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if not ready.is_set():
            await serving
        yield serving
    finally:
        readiness.cancel()
        serving.cancel()
        await asyncio.gather(serving, readiness, return_exceptions=True)
