"""The connections of this process: opened when needed, shared within a scope, mended when broken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from apps.store.mcp_servers import ListedTool, ServerSpec
from apps.tools.conf import conf
from apps.tools.mcp.arguments import is_usable
from apps.tools.mcp.connection import Busy, ClientConnection, Connection, McpFailure
from apps.tools.mcp.hosted import HostConnection
from apps.tools.mcp.target import Target

log = structlog.stdlib.get_logger(__name__)

FAILURES = 3
"""After so many in a row, a server is left alone for a while."""
LONGEST_PAUSE = 60.0
MOST_CONNECTIONS = 256
LOOK = 30.0
"""At most so many seconds lie between two looks at what is no longer needed."""
LONGEST_DESCRIPTION = 50_000
"""Characters. Models read descriptions: tools that say more are left out."""

Note = Callable[[Target, "Entry"], None]
Versions = Callable[[set[int]], Awaitable[Mapping[int, int] | None]]


@dataclass(slots=True)
class Entry:
    """One connection and what is known of its server."""

    target: Target
    connection: Connection | None = None
    tools: list[ListedTool] = field(default_factory=list)
    usable: list[ListedTool] = field(default_factory=list)
    """Those whose schemas models can be told of."""
    listed_at: float = 0.0
    used_at: float = 0.0
    latency_ms: int = 0
    failures: int = 0
    retry_at: float = 0.0
    error: str = ""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


async def connect(target: Target) -> Connection:
    """A new connection. Raises McpFailure."""
    if target.is_local:
        return HostConnection(target.spec, target.scope)
    connection = ClientConnection(
        lambda made: target.transport(made.suspect),
        label=target.spec.label,
        connect_timeout=target.spec.connect_timeout,
        watches=target.is_configured,
    )
    await connection.open()
    return connection


class Pool:
    """``note`` is told when a server has answered or failed. ``versions`` tells which versions of
    servers count by now, None when nobody knows; with it, a task leaves the others, and those that
    nobody asks any more. ``opened`` counts connections."""

    def __init__(self, note: Note | None = None, versions: Versions | None = None) -> None:
        self._entries: dict[Hashable, Entry] = {}
        self._note = note or (lambda target, entry: None)
        self._versions = versions
        self._upkeep: asyncio.Task[None] | None = None
        self.opened = 0

    async def ready(self, target: Target) -> Entry:
        """An open connection that knows the server's tools. Raises McpFailure."""
        entry = self._entries.get(target.key)
        if entry is None:
            await self._make_room()
            entry = self._entries.setdefault(target.key, Entry(target))
            self._look_after()
        async with entry.lock:
            entry.used_at = _now()
            if not _is_fresh(entry):
                await self._refresh(entry)
        return entry

    def known(self, target: Target) -> Entry | None:
        """What there is, without connecting."""
        return self._entries.get(target.key)

    async def forget_old(self, server_id: int, version: int) -> None:
        """Close the connections that were made with an older version of a server."""
        old = [
            key
            for key, entry in self._entries.items()
            if entry.target.spec.id == server_id and entry.target.spec.version != version
        ]
        await asyncio.gather(*(self._leave(self._entries.pop(key)) for key in old))

    async def close(self) -> None:
        """Leave every server at once."""
        if self._upkeep is not None:
            self._upkeep.cancel()
        entries, self._entries = list(self._entries.values()), {}
        connections = [entry.connection for entry in entries if entry.connection is not None]
        await asyncio.gather(*(connection.close() for connection in connections))

    async def _refresh(self, entry: Entry) -> None:
        """Connect where it is needed, and list the tools; once more when a connection that was
        open before turns out to be dead."""
        if entry.failures >= FAILURES and _now() < entry.retry_at:
            raise McpFailure(entry.error)
        was_open = entry.connection is not None and entry.connection.is_open
        try:
            try:
                await self._list(entry)
            except McpFailure as exc:
                if isinstance(exc, Busy) or not was_open:
                    raise
                await self._leave(entry)
                await self._list(entry)
        except Busy:
            await self._leave(entry)
            raise
        except McpFailure as exc:
            await self._leave(entry)
            entry.failures += 1
            pause = min(LONGEST_PAUSE, 2.0 ** max(0, entry.failures - FAILURES))
            entry.retry_at, entry.error = _now() + pause, str(exc)
            self._note(entry.target, entry)
            raise
        entry.failures, entry.error = 0, ""
        self._note(entry.target, entry)

    async def _list(self, entry: Entry) -> None:
        began = time.perf_counter()
        if entry.connection is None or not entry.connection.is_open:
            entry.connection = await connect(entry.target)
            self.opened += 1
        tools = await entry.connection.list_tools()
        if tools != entry.tools:
            entry.usable = await asyncio.to_thread(_usable, tools)
            entry.tools = tools
        entry.listed_at = _now()
        entry.latency_ms = round((time.perf_counter() - began) * 1000)

    async def _leave(self, entry: Entry) -> None:
        """Calls under way may end."""
        connection, entry.connection = entry.connection, None
        if connection is not None:
            await connection.retire()

    async def _make_room(self) -> None:
        """Leave servers that were asked longest ago, when there are too many."""
        by_age = sorted(self._entries, key=lambda key: self._entries[key].used_at)
        await self._leave_all(by_age[: max(0, len(by_age) - MOST_CONNECTIONS + 1)])

    # --- What is no longer needed -----------------------------------------------------------------

    def _look_after(self) -> None:
        if self._versions is not None and (self._upkeep is None or self._upkeep.done()):
            self._upkeep = asyncio.create_task(self._look(self._versions))

    async def _look(self, versions: Versions) -> None:
        """Again and again, as long as there are connections."""
        while self._entries:
            await asyncio.sleep(min(LOOK, conf.MCP_IDLE_SECONDS / 2))
            servers = {entry.target.spec.id for entry in self._entries.values()}
            current, limit = await versions(servers), _now() - conf.MCP_IDLE_SECONDS
            await self._leave_all(
                [
                    key
                    for key, entry in self._entries.items()
                    if entry.used_at < limit or not _counts(entry.target.spec, current)
                ]
            )

    async def _leave_all(self, keys: Sequence[Hashable]) -> None:
        """But for those that are being opened."""
        left = [self._entries.pop(key) for key in keys if not self._entries[key].lock.locked()]
        await asyncio.gather(*map(self._leave, left))


def _counts(spec: ServerSpec, current: Mapping[int, int] | None) -> bool:
    return current is None or current.get(spec.id) == spec.version


def _usable(tools: list[ListedTool]) -> list[ListedTool]:
    return [tool for tool in tools if _is_readable(tool) and is_usable(tool.input_schema)]


def _is_readable(tool: ListedTool) -> bool:
    return tool.is_nameable and len(tool.description) <= LONGEST_DESCRIPTION


def _is_fresh(entry: Entry) -> bool:
    connection = entry.connection
    if connection is None or not connection.is_open or connection.stale:
        return False
    return _now() - entry.listed_at < conf.MCP_TOOLS_SECONDS


def _now() -> float:
    return time.monotonic()
