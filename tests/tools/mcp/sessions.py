"""Sessions of the MCP runtime for tests: with real servers, and a database that is in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from itertools import count
from typing import Any

import pytest

from apps.store.mcp_servers import ServerSpec
from apps.tools.base import RunInfo, Text, ToolCall, ToolOutcome, ToolProgress, ToolSession
from apps.tools.mcp import hosted, programs, runtime
from apps.tools.mcp.runtime import McpRuntime
from tests.tools.mcp.specs import specify

LIMIT = 60.0
_numbers = count(1)


class Store:
    """Stands in for the database: has servers, and remembers what is written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.servers: dict[str, ServerSpec] = {}
        self.written: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        for module in (runtime, hosted, programs):
            monkeypatch.setattr(module, "in_thread", self.read)
        monkeypatch.setattr(runtime, "in_writer", self.write)

    def add(self, **fields: Any) -> ServerSpec:
        """A server under its label, in place of the one there was."""
        spec = specify(**{"version": next(_numbers)} | fields)
        self.servers[spec.label] = spec
        return spec

    async def read(self, unit: Callable[..., Any], *args: Any) -> Any:
        await asyncio.sleep(0)  # others have their turn, as while a thread works
        if unit.__name__ == "server_for":
            return self.servers.get(args[0])
        if unit.__name__ == "versions_of":
            return {spec.id: spec.version for spec in self.servers.values() if spec.enabled}
        return next((spec for spec in self.servers.values() if spec.id == args[0]), None)

    async def write(self, unit: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.written.append((unit.__name__, args, kwargs))

    def writes(self, name: str) -> list[tuple[Any, ...]]:
        """What this function was called with."""
        return [args for unit, args, _ in self.written if unit == name]


@asynccontextmanager
async def running() -> AsyncIterator[McpRuntime]:
    """A runtime whose connections are closed afterwards."""
    made = McpRuntime()
    try:
        yield made
    finally:
        await made.pool.close()
        await asyncio.gather(*runtime._background)


def run_info(**fields: Any) -> RunInfo:
    defaults: dict[str, Any] = {
        "response_id": "resp_1",
        "root_id": "resp_1",
        "project_id": 1,
        "request_id": "req_1",
        "deadline": asyncio.get_running_loop().time() + LIMIT,
    }
    return RunInfo(**defaults | fields)


def declare(label: str = "toys", **fields: Any) -> dict[str, Any]:
    return {"type": "mcp", "server_label": label} | fields


async def steps(
    session: ToolSession, tool: str, **arguments: Any
) -> list[ToolProgress | ToolOutcome]:
    """All that a call yields."""
    call = ToolCall(
        id=f"mcp_{next(_numbers)}", name=tool, arguments=arguments, written=json.dumps(arguments)
    )
    async with aclosing(session.run(call)) as found:
        return [step async for step in found]


async def call(session: ToolSession, tool: str, **arguments: Any) -> ToolOutcome:
    """What comes of a call."""
    outcome = (await steps(session, tool, **arguments))[-1]
    assert isinstance(outcome, ToolOutcome)
    return outcome


def nested(levels: int) -> dict[str, Any]:
    """So many objects, one in another."""
    found: dict[str, Any] = {}
    for _ in range(levels - 1):
        found = {"a": found}
    return found


def text(outcome: ToolOutcome) -> str:
    """Its words, when it went well."""
    assert outcome.failure is None, outcome.failure
    return "".join(part.text for part in outcome.parts if isinstance(part, Text))


async def works(made: McpRuntime) -> None:
    """Requests are served as if nothing had been."""
    async with made.open(declare(), run_info()) as session:
        assert text(await call(session, "echo", text="ho", times=2)) == "hoho"


async def leaves_out_what_is_odd(made: McpRuntime) -> None:
    """A tool whose schema is none is not offered; all others are."""
    async with made.open(declare(), run_info()) as session:
        names = {function.name for function in session.functions}
    assert {"echo", "hang", "process"} <= names
    assert "odd" not in names


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """What is begun inside has ended soon after, every task of it."""
    before = asyncio.all_tasks()
    yield
    while asyncio.all_tasks() - before:  # within the limit of ``play``  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def play(scenario: Coroutine[Any, Any, None]) -> None:
    """Run it, within bounds."""

    async def bounded() -> None:
        async with asyncio.timeout(LIMIT):
            await scenario

    asyncio.run(bounded())
