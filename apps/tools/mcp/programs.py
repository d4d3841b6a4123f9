"""The programs of stdio servers that run on this machine: one for each server and each scope of those
who share it, started when it is first needed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from django.conf import settings

from apps.store.db import in_thread
from apps.store.errors import StoreUnavailable
from apps.store.mcp_servers import ServerSpec, versions_of
from apps.tools.conf import conf
from apps.tools.mcp.connection import Busy, ClientConnection
from apps.tools.mcp.program import program_transport

LOOK = 30.0
"""At most so many seconds lie between two looks at programs that are no longer needed."""
LARGEST_LOG = 1_000_000
"""Bytes of what a server wrote to its standard error; older ones are kept once."""


class Key(NamedTuple):
    server_id: int
    scope: str


@dataclass(slots=True, eq=False)
class Program:
    """One that runs or is being started, and how many are about to use it."""

    spec: ServerSpec
    connection: ClientConnection | None = None
    users: int = 0
    used_at: float = field(default_factory=time.monotonic)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def has_ended(self) -> bool:
        return self.connection is not None and not self.connection.is_open

    async def ready(self) -> ClientConnection:
        """Started, if need be. Raises McpFailure."""
        async with self.lock:
            if self.connection is None:
                self.connection = await _started(self.spec)
            return self.connection

    async def end(self) -> None:
        if self.connection is not None:
            await self.connection.close()


class Programs:
    """Those of servers that were changed, switched off or deleted, and those that nobody has asked for
    long, are ended as soon as nobody uses them."""

    def __init__(self) -> None:
        self._programs: dict[Key, Program] = {}
        self._upkeep: asyncio.Task[None] | None = None

    @property
    def running(self) -> int:
        return sum(not program.has_ended for program in self._programs.values())

    @asynccontextmanager
    async def use(self, spec: ServerSpec, scope: str) -> AsyncIterator[ClientConnection]:
        """A program that nobody ends meanwhile. Raises McpFailure where it cannot be started, and
        Busy where there are too many."""
        key = Key(spec.id, scope)
        program, old = self._taken(key, spec)
        try:
            if old is not None:
                await old.end()
            yield await program.ready()
        finally:
            await self._given_back(key, program)

    def _taken(self, key: Key, spec: ServerSpec) -> tuple[Program, Program | None]:
        """The program, and the one to be ended in its favour. Raises Busy."""
        old, program = None, self._programs.get(key)
        if program is None or program.has_ended or program.spec.version != spec.version:
            old = program or self._to_make_room(spec.id)
            program = self._programs[key] = Program(spec)
        program.users += 1
        return program, None if old is None or old.users else old

    def _to_make_room(self, server_id: int) -> Program | None:
        """The one that nobody has used for longest, if there are too many. Raises Busy."""
        programs = {key: each for key, each in self._programs.items() if key.server_id == server_id}
        if len(programs) < conf.MCP_PROGRAMS:
            return None
        unused = [key for key, program in programs.items() if not program.users]
        if not unused:
            raise Busy(
                f"Every program of this server is in use (most at a time: {conf.MCP_PROGRAMS})."
            )
        return self._programs.pop(min(unused, key=lambda key: programs[key].used_at))

    async def _given_back(self, key: Key, program: Program) -> None:
        program.users -= 1
        program.used_at = time.monotonic()
        if program.users:
            return
        if self._programs.get(key) is not program:  # it was left while it was used
            await program.end()
        elif program.connection is None:
            del self._programs[key]

    # --- What is no longer needed -----------------------------------------------------------------

    def look_after(self) -> None:
        """From now on, as long as the loop runs."""
        self._upkeep = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(min(LOOK, conf.MCP_IDLE_SECONDS / 2))
            if self._programs:
                with contextlib.suppress(StoreUnavailable):
                    await self._leave()

    async def _leave(self) -> None:
        """Those that are no longer needed."""
        versions = await in_thread(versions_of, {key.server_id for key in self._programs})
        limit = time.monotonic() - conf.MCP_IDLE_SECONDS
        left = [
            self._programs.pop(key)
            for key, program in list(self._programs.items())
            if versions.get(key.server_id) != program.spec.version
            or (program.used_at < limit and not program.users)
        ]
        await asyncio.gather(*(program.end() for program in left if not program.users))

    async def close(self) -> None:
        """All of them, at once."""
        if self._upkeep is not None:
            self._upkeep.cancel()
        await asyncio.gather(*(program.end() for program in self._programs.values()))


async def _started(spec: ServerSpec) -> ClientConnection:
    made = ClientConnection(
        lambda made: program_transport(spec, log=log_of(spec.label), on_end=made.lose),
        label=spec.label,
        connect_timeout=spec.connect_timeout,
    )
    await made.open()
    return made


def log_of(label: str) -> Path:
    """The file that has what the server's programs write to their standard error."""
    folder: Path = settings.DATA_DIR / "mcp"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{label}.log"
    if path.exists() and path.stat().st_size > LARGEST_LOG:
        path.replace(path.with_suffix(".log.1"))
    return path
