"""In-memory twins of hosted tools: they do what a test says, and remember what they were asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from apps.tools.base import (
    Artifact,
    Decision,
    RunInfo,
    Text,
    ToolCall,
    ToolFunction,
    ToolOutcome,
    ToolProgress,
    Verdict,
)

Answer = Callable[[ToolCall], ToolOutcome]

ANYTHING = {"type": "object", "properties": {}}


def echo(call: ToolCall) -> ToolOutcome:
    """Tells what it was called with."""
    return ToolOutcome(parts=(Text(f"{call.name} of {dict(call.arguments)}"),))


def function(name: str, *, needs_approval: bool = False) -> ToolFunction:
    return ToolFunction(
        name=name, description=f"Does {name}.", parameters=ANYTHING, needs_approval=needs_approval
    )


class ScriptedSession:
    """``hold`` keeps every call back until it is set; ``running`` counts those under way."""

    def __init__(
        self,
        label: str,
        functions: Sequence[ToolFunction],
        *,
        answer: Answer = echo,
        concurrency: int = 1,
        artifacts: Sequence[Artifact] = (),
        verdict: Verdict = Verdict.VALID,
    ) -> None:
        self.label, self.functions = label, tuple(functions)
        self.artifacts, self.concurrency = tuple(artifacts), concurrency
        self.answer, self.verdict = answer, verdict
        self.calls: list[ToolCall] = []
        self.decisions: list[Decision] = []
        self.hold: asyncio.Event | None = None
        self.running = self.most = self.cancelled = 0
        self.started = asyncio.Event()

    async def run(self, call: ToolCall) -> AsyncGenerator[ToolProgress | ToolOutcome, None]:
        self.calls.append(call)
        self.running += 1
        self.most = max(self.most, self.running)
        self.started.set()
        try:
            yield ToolProgress()
            if self.hold is not None:
                await self.hold.wait()
            yield self.answer(call)
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += self.hold is not None and not self.hold.is_set()
            raise
        finally:
            self.running -= 1

    def approval_request_id(self, name: str, arguments: str) -> str:
        return f"mcpr_{name}-{len(arguments)}"

    async def decide(self, decision: Decision) -> Verdict:
        self.decisions.append(decision)
        return self.verdict


class ScriptedRuntime:
    """Gives one session to every run, and counts how many are open. ``arriving`` and ``parting``
    hold it up."""

    def __init__(self, session: ScriptedSession, *, offered: bool = True) -> None:
        self.session, self.offered = session, offered
        self.open_sessions = 0
        self.runs: list[RunInfo] = []
        self.declarations: list[Mapping[str, Any]] = []
        self.refusal: Exception | None = None
        self.arriving: asyncio.Event | None = None
        self.parting: asyncio.Event | None = None

    @asynccontextmanager
    async def open(
        self, declaration: Mapping[str, Any], run: RunInfo
    ) -> AsyncGenerator[ScriptedSession, None]:
        if self.refusal is not None:
            raise self.refusal
        if self.arriving is not None:
            await self.arriving.wait()
        self.declarations.append(declaration)
        self.runs.append(run)
        self.open_sessions += 1
        try:
            yield self.session
        finally:
            if self.parting is not None:
                await self.parting.wait()
            self.open_sessions -= 1
