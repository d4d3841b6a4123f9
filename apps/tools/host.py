"""The tool host: one process per machine that owns what no server process can own alone.

It listens on a unix socket in the data folder that only its own user may open. Each connection is
one conversation with one service: a request, frames both ways, an end. A caller who goes away ends
what was done for them. ``host_client.py`` is the other end; ``manage.py toolhost`` runs this.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import structlog
from django.conf import settings
from django.utils.module_loading import import_string

from apps.tools.frames import BrokenFrame, Channel, Frame

log = structlog.stdlib.get_logger(__name__)

SERVICES: tuple[str, ...] = (
    "apps.tools.code_interpreter.host_service.CodeInterpreterService",
    "apps.tools.mcp.hosted.McpService",
)
"""The services there are, by dotted path: each a class that takes no arguments."""

LONGEST_PATH = 100
"""Bytes that the system has for the name of a socket, nearly."""
READ_AHEAD = 8
"""Frames of a caller that wait for their service."""


class Conversation:
    """What a service sees of one caller."""

    def __init__(self, channel: Channel, frames: asyncio.Queue[Frame]) -> None:
        self._channel, self._frames = channel, frames

    async def send(self, message: Mapping[str, Any], blob: bytes = b"") -> None:
        await self._channel.send(message, blob)

    async def receive(self) -> Frame:
        """What the caller says next. A caller who is gone cancels the service instead."""
        return await self._frames.get()


class Service(Protocol):
    """Something that the host does for callers."""

    name: str

    @classmethod
    def wanted(cls) -> bool:
        """Whether the settings ask for it on this machine."""

    async def start(self) -> None:
        """Get ready; conversations come afterwards."""

    async def handle(self, request: Frame, conversation: Conversation) -> None:
        """Hold one conversation. Cancelled when the caller goes away. What it raises the caller
        is told: a ServiceError in its own words, else that it failed."""

    def status(self) -> Mapping[str, Any]:
        """What there is to tell operators; JSON."""

    async def stop(self) -> None:
        """Let go of everything; conversations have ended."""


class ServiceError(Exception):
    """The request cannot be served. ``kind`` is for the caller's code, the message for people."""

    def __init__(self, message: str, *, kind: str = "error") -> None:
        super().__init__(message)
        self.kind = kind


class CannotHostError(Exception):
    """The host cannot start; the message says why."""


def socket_path() -> Path:
    path: Path = settings.DATA_DIR / "toolhost.sock"
    return path


def wanted_services() -> list[type[Service]]:
    """The services that this machine's host is to have."""
    known: list[type[Service]] = [import_string(path) for path in SERVICES]
    return [service for service in known if service.wanted()]


class ToolHost:
    """One host. ``serve`` runs it until it is cancelled."""

    def __init__(self, path: Path, services: Sequence[Service]) -> None:
        self.path = path
        self.services = {service.name: service for service in services}
        self._talks: set[asyncio.Task[None]] = set()

    async def serve(self, ready: asyncio.Event | None = None) -> None:
        """Raises CannotHostError where another one runs already."""
        with _only_one(self.path):
            async with _started(self.services.values()):
                server = await self._listen()
                log.info("tool host ready", services=sorted(self.services))
                if ready is not None:
                    ready.set()
                try:
                    await asyncio.get_running_loop().create_future()
                finally:
                    server.close()
                    self.path.unlink(missing_ok=True)
                    for talk in self._talks:
                        talk.cancel()
                    await asyncio.gather(*self._talks, return_exceptions=True)

    async def _listen(self) -> asyncio.Server:
        self.path.unlink(missing_ok=True)  # of one that was killed: nobody else holds the lock
        mask = os.umask(0o177)
        try:
            return await asyncio.start_unix_server(self._accept, str(self.path))
        except OSError as exc:
            raise CannotHostError(f"Cannot listen on {self.path}: {exc}.") from exc
        finally:
            os.umask(mask)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.create_task(self._talk(Channel(reader, writer)))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _talk(self, channel: Channel) -> None:
        """One conversation, from the request to the end."""
        try:
            request = await channel.receive()
            if request is not None:
                await self._answer(request, channel)
        except (ConnectionError, BrokenFrame) as exc:
            log.info("conversation broke off", reason=str(exc) or type(exc).__name__)
        finally:
            await channel.close()

    async def _answer(self, request: Frame, channel: Channel) -> None:
        frames: asyncio.Queue[Frame] = asyncio.Queue(READ_AHEAD)
        work = asyncio.create_task(self._handle(request, Conversation(channel, frames)))
        listening = asyncio.create_task(_listen_to(channel, frames))
        try:
            await asyncio.wait({work, listening}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, listening):
                task.cancel()
            ends = await asyncio.gather(work, listening, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    async def _handle(self, request: Frame, conversation: Conversation) -> None:
        end: dict[str, Any] = {"end": True}
        try:
            if request.message.get("service") == "host":
                await conversation.send({"services": self.status()})
            else:
                await self._service(request).handle(request, conversation)
        except ServiceError as exc:
            end = {"error": {"kind": exc.kind, "message": str(exc)}}
        except (ConnectionError, BrokenFrame):
            raise
        except Exception:
            log.exception("service failed", service=request.message.get("service"))
            end = {"error": {"kind": "failed", "message": "The tool host failed; see its log."}}
        await conversation.send(end)

    def _service(self, request: Frame) -> Service:
        name = request.message.get("service")
        if not isinstance(name, str) or name not in self.services:
            raise ServiceError(f"This tool host has no service {name!r}.", kind="unknown_service")
        return self.services[name]

    def status(self) -> dict[str, Mapping[str, Any]]:
        return {name: service.status() for name, service in self.services.items()}


async def _listen_to(channel: Channel, frames: asyncio.Queue[Frame]) -> None:
    """Pass on what the caller says, until they are gone."""
    while (frame := await channel.receive()) is not None:
        await frames.put(frame)


@contextlib.asynccontextmanager
async def _started(services: Iterable[Service]) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for service in services:
            await service.start()
            stack.push_async_callback(service.stop)
        yield


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[IO[str]]:
    """Hold the lock without which no host touches the socket. It ends with the process."""
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise CannotHostError(
            f"{path} is too long a name for a socket: choose a shorter GATEWAY_DATA_DIR."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise CannotHostError(f"Another tool host runs on {path}.") from exc
        yield lock
