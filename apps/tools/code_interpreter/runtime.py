"""The tool ``code_interpreter``: what the engine opens for a run that declares it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import structlog

from apps.store.errors import StoreUnavailable
from apps.store.snapshots import CodeRun
from apps.tools.base import (
    Artifact,
    Decision,
    RunInfo,
    ToolCall,
    ToolFailure,
    ToolFunction,
    ToolOutcome,
    ToolProgress,
    ToolUnavailable,
    Verdict,
)
from apps.tools.code_interpreter.calls import Call, NodeEvent, Placed
from apps.tools.code_interpreter.configuration import sandbox_limits
from apps.tools.code_interpreter.declaration import wanted
from apps.tools.code_interpreter.description import function
from apps.tools.code_interpreter.dispatch import nodes
from apps.tools.code_interpreter.outcomes import Collected
from apps.tools.code_interpreter.sandbox import FileDeleted, Started
from apps.tools.code_interpreter.setup import hosts_sandboxes
from apps.tools.code_interpreter.workspace import Unusable, Workspace, open_workspace

log = structlog.stdlib.get_logger(__name__)


class CodeInterpreterRuntime:
    """Code in containers, wherever they run."""

    @property
    def offered(self) -> bool:
        return hosts_sandboxes()

    @asynccontextmanager
    async def open(
        self, declaration: Mapping[str, Any], run: RunInfo
    ) -> AsyncIterator[CodeInterpreterSession]:
        """Raises ToolRefused, ToolUnavailable."""
        asked = wanted(declaration)
        packages = await _packages()
        workspace = await open_workspace(asked, run)
        yield CodeInterpreterSession(workspace, run, function(packages, workspace.given))


async def _packages() -> list[str]:
    """What code can import on every node. Raises ToolUnavailable where none can run code."""
    said = await nodes().status()
    usable = [status for status in said if status["usable"]]
    if not usable:
        missing = "; ".join(said[0]["missing"]) if said else ""
        raise ToolUnavailable(f"Code cannot run here: {missing or 'no sandbox is installed'}.")
    common = set[str].intersection(*(set(status["packages"]) for status in usable))
    return sorted(common)


class CodeInterpreterSession:
    """The container of one run. Calls run one after another."""

    concurrency = 1

    def __init__(self, workspace: Workspace, run: RunInfo, offered: ToolFunction) -> None:
        self._workspace, self._run = workspace, run
        self._function = offered
        self._before = workspace.artifacts

    @property
    def label(self) -> str:
        return self._workspace.id

    @property
    def functions(self) -> tuple[ToolFunction, ...]:
        return (self._function,)

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        return self._before

    def approval_request_id(self, name: str, arguments: str) -> str:
        raise AssertionError("Code needs no approval.")

    async def decide(self, decision: Decision) -> Verdict:
        return Verdict.FORGED  # no request for an approval was ever made

    # --- Calls ------------------------------------------------------------------------------------

    async def run(self, call: ToolCall) -> AsyncGenerator[ToolProgress | ToolOutcome, None]:
        code = call.arguments.get("code")
        if not isinstance(code, str):
            message = "The argument 'code' is missing: call again with the Python code as a string."
            yield _failed(message, kind="tool_error")
            return
        yield ToolProgress()
        try:
            made = await self._call(call.id, code)
        except Unusable as exc:
            yield _failed(str(exc))
            return
        collected = Collected(self._workspace.id, wall_s=made.limits.wall_s)
        async with aclosing(self._events(made)) as events:
            async for event in events:
                collected.add(event)
                yield ToolProgress()
        outcome = collected.outcome()
        await self._record(made, collected, outcome)
        yield outcome

    async def _call(self, call_id: str, code: str) -> Call:
        """The call with all that a node has to know. Raises Unusable."""
        epoch, files = await self._workspace.prepare()
        limits = sandbox_limits(self._workspace.memory_limit)
        left = self._run.deadline - asyncio.get_running_loop().time()
        return Call(
            id=call_id,
            container_id=self._workspace.id,
            code=code,
            epoch=epoch,
            stateful=epoch > 0,
            limits=replace(limits, wall_s=max(1.0, min(limits.wall_s, left))),
            files=files,
        )

    async def _events(self, call: Call) -> AsyncGenerator[NodeEvent, None]:
        """What happens, and who has the container from then on."""
        placed = Placed("", 0)
        async with aclosing(nodes().run(call, self._workspace)) as events:
            async for event in events:
                if isinstance(event, Placed):
                    placed = event
                elif isinstance(event, Started):
                    await self._note(placed)
                elif isinstance(event, FileDeleted):
                    await self._workspace.remove(event.path, epoch=placed.epoch)
                yield event

    async def _note(self, placed: Placed) -> None:
        try:
            await self._workspace.placed(placed.node, placed.epoch)
        except StoreUnavailable as exc:
            log.warning("node of container not noted", reason=str(exc))

    async def _record(self, call: Call, collected: Collected, outcome: ToolOutcome) -> None:
        kept = self._run.kept
        try:
            await self._workspace.record(
                CodeRun(
                    id=call.id,
                    container_id=call.container_id,
                    response_id=self._run.response_id,
                    outcome=collected.word,
                    duration_ms=collected.ms,
                    node=collected.node,
                    code=call.code if kept else "",
                    output=collected.text(outcome) if kept else "",
                )
            )
        except StoreUnavailable as exc:
            log.warning("call not recorded", reason=str(exc))


def _failed(message: str, *, kind: Any = "unavailable") -> ToolOutcome:
    return ToolOutcome(failure=ToolFailure(kind=kind, message=message))
