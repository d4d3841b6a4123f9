"""MCP for requests: the sessions of servers that operators set up, and of those that requests
bring."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from apps.store import mcp_records, mcp_servers
from apps.store.db import in_thread, in_writer
from apps.store.errors import StoreUnavailable
from apps.store.mcp_records import ApprovalRecord, CallRecord, Who
from apps.store.mcp_servers import ListedTool, ServerSpec
from apps.store.models.mcp_server import CLOSED, CONVERSATION, OPEN, PROJECT
from apps.store.secrets import SecretUnreadable
from apps.tools.base import (
    Artifact,
    Decision,
    RunInfo,
    ServerAway,
    ToolCall,
    ToolFailure,
    ToolFunction,
    ToolOutcome,
    ToolProgress,
    ToolRefused,
    ToolUnavailable,
    Verdict,
)
from apps.tools.conf import conf
from apps.tools.mcp import approvals, arguments
from apps.tools.mcp.connection import McpFailure
from apps.tools.mcp.policy import Policy
from apps.tools.mcp.pool import FAILURES, Entry, Pool
from apps.tools.mcp.progress import beats
from apps.tools.mcp.results import outcome_of
from apps.tools.mcp.target import Target, declared

log = structlog.stdlib.get_logger(__name__)

USED = (
    "This approval has been used: response {} made the call, and its result is there. It is not made "
    "again; to make it once more, call the tool anew."
)

_background: set[asyncio.Task[Any]] = set()


def _afterwards(work: Coroutine[Any, Any, Any]) -> None:
    """Write something down that no request waits for; what cannot be written is lost."""

    async def quietly() -> None:
        try:
            await work
        except StoreUnavailable as exc:
            log.warning("MCP record not written", error=str(exc))

    task = asyncio.create_task(quietly())
    _background.add(task)
    task.add_done_callback(_background.discard)


def note(target: Target, entry: Entry) -> None:
    """Write down how an operator's server did."""
    if target.is_configured:
        _afterwards(_noted(target.spec.id, entry, entry.error, list(entry.tools)))


async def _noted(server_id: int, entry: Entry, error: str, tools: list[ListedTool]) -> None:
    if error:
        await in_writer(mcp_servers.record_failure, server_id, error)
        is_open = entry.failures >= FAILURES
        pause = timedelta(seconds=max(0.0, entry.retry_at - time.monotonic()))
        await in_writer(
            mcp_servers.record_breaker,
            server_id,
            breaker=OPEN if is_open else CLOSED,
            failures=entry.failures,
            retry_at=datetime.now(UTC) + pause if is_open else None,
        )
        return
    connection = entry.connection
    await in_writer(
        mcp_servers.record_success,
        server_id,
        latency_ms=entry.latency_ms,
        server_name=getattr(connection, "server_name", ""),
        server_version=getattr(connection, "server_version", ""),
    )
    await in_writer(mcp_servers.save_tools, server_id, tools)


async def versions(server_ids: set[int]) -> dict[int, int] | None:
    """Those of the servers that are there and enabled; None when the database cannot tell."""
    try:
        return await in_thread(mcp_servers.versions_of, server_ids)
    except StoreUnavailable:
        return None


class McpRuntime:
    """Keeps this process's connections."""

    def __init__(self) -> None:
        self.pool = Pool(note, versions)

    @property
    def offered(self) -> bool:
        return conf.MCP

    @asynccontextmanager
    async def open(
        self, declaration: Mapping[str, Any], run: RunInfo
    ) -> AsyncGenerator[McpSession, None]:
        _check(declaration)
        target = await self._target(declaration, run)
        if target.is_configured:
            await self.pool.forget_old(target.spec.id, target.spec.version)
            session = await _session(self.pool, target, declaration, run)
            try:
                yield session
            finally:
                session.write_down()
            return
        pool = Pool()  # nothing of a request's own server outlives the request
        try:
            session = await _session(pool, target, declaration, run)
            try:
                yield session
            finally:
                session.write_down()
        finally:
            await pool.close()

    async def _target(self, declaration: Mapping[str, Any], run: RunInfo) -> Target:
        """Raises ToolRefused, ToolUnavailable."""
        label, url = declaration["server_label"], declaration.get("server_url")
        try:
            spec = await in_thread(mcp_servers.server_for, label, run.project_id)
        except StoreUnavailable as exc:
            raise ToolUnavailable("The database cannot be reached.") from exc
        except SecretUnreadable as exc:
            raise ToolUnavailable(f"The secrets of MCP server '{label}' cannot be read.") from exc
        if url is None:
            usable = _usable(spec, label)
            return Target(usable, scope=_scope(usable, run))
        if spec is not None:
            raise ToolRefused(
                f"'{label}' is a server of this gateway: leave 'server_url' out, or choose "
                "another label.",
                param="server_url",
            )
        return declared(
            label,
            url,
            headers=declaration.get("headers"),
            authorization=declaration.get("authorization"),
        )


def _usable(spec: ServerSpec | None, label: str) -> ServerSpec:
    if spec is None:
        raise ToolRefused(
            f"There is no MCP server '{label}' on this gateway: give its 'server_url'.",
            param="server_label",
        )
    if not spec.enabled:
        raise ToolRefused(f"The MCP server '{label}' is switched off.", param="server_label")
    return spec


def _check(declaration: Mapping[str, Any]) -> None:
    """What this gateway does not have."""
    for name in ("connector_id", "tunnel_id", "defer_loading"):
        if declaration.get(name):
            raise ToolRefused(f"'{name}' is not supported.", param=name)
    if declaration.get("server_url") is None:
        for name in ("headers", "authorization"):
            if declaration.get(name):
                raise ToolRefused(
                    f"'{name}' is for servers that the request brings: this gateway's own have "
                    "theirs.",
                    param=name,
                )
    allowed = declaration.get("allowed_tools")
    if allowed is not None and not allowed:
        raise ToolRefused("No tool is allowed.", param="allowed_tools")


def _scope(spec: ServerSpec, run: RunInfo) -> str:
    """Names those who share a session with the server."""
    scopes = {PROJECT: f"project {run.project_id}", CONVERSATION: f"conversation {run.root_id}"}
    return scopes.get(spec.session_scope, "")


async def _session(
    pool: Pool, target: Target, declaration: Mapping[str, Any], run: RunInfo
) -> McpSession:
    """Raises ServerAway, before the first byte."""
    try:
        entry = await pool.ready(target)
    except McpFailure as exc:
        raise ServerAway(
            f"The MCP server '{target.spec.label}' is unavailable. {exc}",
            param="server_label" if target.is_configured else "server_url",
        ) from exc
    policy = Policy(target, declaration)
    return McpSession(pool, target, policy.tools(entry.usable), policy, run)


class McpSession:
    """One declared server during one run."""

    def __init__(
        self,
        pool: Pool,
        target: Target,
        tools: list[ListedTool],
        policy: Policy,
        run: RunInfo,
    ) -> None:
        self._pool, self._target, self._run = pool, target, run
        self._tools = {tool.name: tool for tool in tools}
        self._asked: list[ApprovalRecord] = []
        self._reasons: dict[str, str] = {}
        self.label = target.spec.label
        self.artifacts: tuple[Artifact, ...] = ()
        self.concurrency = target.spec.concurrency
        self.functions = tuple(
            ToolFunction(
                name=tool.name,
                description=tool.description or tool.title,
                parameters={"type": "object", **tool.input_schema},
                annotations=tool.annotations or None,
                needs_approval=policy.needs_approval(tool),
            )
            for tool in self._tools.values()
        )

    # --- Calls --------------------------------------------------------------------------------

    async def run(self, call: ToolCall) -> AsyncGenerator[ToolProgress | ToolOutcome, None]:
        started, began = datetime.now(UTC), time.perf_counter()
        outcome: ToolOutcome | None = None
        try:
            async with aclosing(self._steps(call)) as steps:
                async for step in steps:
                    if isinstance(step, ToolOutcome):
                        outcome = step
                    yield step
        finally:
            self._log(call, outcome, started, round((time.perf_counter() - began) * 1000))

    async def _steps(self, call: ToolCall) -> AsyncGenerator[ToolProgress | ToolOutcome, None]:
        tool = self._tools.get(call.name)
        if tool is None:
            yield _failed(ToolFailure(kind="tool_error", message="There is no such tool."))
            return
        if (wrong := arguments.problem(tool.input_schema, call.arguments)) is not None:
            yield _failed(ToolFailure(kind="tool_error", message=wrong))
            return
        if call.approval_request_id and (spent := await self._spend(call)) is not None:
            yield _failed(spent)
            return
        progressed = asyncio.Event()
        work = asyncio.create_task(self._call(call, progressed.set))
        try:
            async with aclosing(beats(work, progressed)) as progress:
                async for _ in progress:
                    yield ToolProgress()
            yield work.result()
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait({work}, timeout=3)

    async def _call(self, call: ToolCall, on_progress: Any) -> ToolOutcome:
        """Once more when the connection was dead before the server had the request."""
        left = self._run.deadline - asyncio.get_running_loop().time()
        limit = max(0.1, min(self._target.spec.call_timeout, left))
        try:
            for last in (False, True):
                try:
                    entry = await self._pool.ready(self._target)
                    assert entry.connection is not None
                    result = await entry.connection.call(
                        call.name, call.arguments, time_limit=limit, on_progress=on_progress
                    )
                    outcome = outcome_of(result, limit=self._target.spec.result_limit)
                    if result.is_error and "unknown tool" in str(result.content).lower():
                        self._suspect_tools()
                    return outcome
                except McpFailure as exc:
                    if last or exc.reached:
                        raise
            raise AssertionError("unreachable")
        except McpFailure as exc:
            if exc.kind == "protocol_error":
                self._suspect_tools()
            return _failed(ToolFailure(kind=exc.kind, message=str(exc), code=exc.code))

    def _suspect_tools(self) -> None:
        """An error of the protocol may mean that the tools have changed: list them next time."""
        entry = self._pool.known(self._target)
        if entry is not None and entry.connection is not None:
            entry.connection.stale = True

    # --- Approvals ----------------------------------------------------------------------------

    def approval_request_id(self, name: str, arguments: str) -> str:
        made = approvals.request_id(
            project_id=self._run.project_id,
            identity=self._target.identity,
            tool=name,
            arguments=arguments,
            fingerprint=self._tools[name].fingerprint,
        )
        self._asked.append(self._approval(made, name, arguments))
        return made

    async def decide(self, decision: Decision) -> Verdict:
        tool = self._tools.get(decision.name)
        verdict = approvals.judge(
            decision.request_id,
            project_id=self._run.project_id,
            identity=self._target.identity,
            tool=decision.name,
            arguments=decision.arguments,
            fingerprint=tool.fingerprint if tool else None,
        )
        if verdict is not Verdict.FORGED:
            self._reasons[decision.request_id] = decision.reason or ""
            _afterwards(
                in_writer(
                    mcp_records.record_decision,
                    self._who,
                    self._approval(decision.request_id, decision.name, decision.arguments),
                    approve=decision.approve,
                    reason=self._reasons[decision.request_id],
                )
            )
        return verdict

    async def _spend(self, call: ToolCall) -> ToolFailure | None:
        """An approval is good for one call, whoever sends it again: tools are not idempotent."""
        request_id = call.approval_request_id
        assert request_id is not None
        asked = self._approval(request_id, call.name, call.written)
        reason = self._reasons.get(request_id, "")
        try:
            user = await in_writer(mcp_records.use_approval, self._who, asked, reason=reason)
        except StoreUnavailable:
            return ToolFailure(
                kind="unavailable",
                message="The call was not made: nothing can be written down at the moment.",
            )
        if not user:
            return None
        return ToolFailure(kind="http_error", code=409, message=USED.format(user))

    # --- Records ------------------------------------------------------------------------------

    @property
    def _who(self) -> Who:
        run = self._run
        return Who(
            project_id=run.project_id,
            key_id=run.key_id,
            response_id=run.response_id,
            kept=run.kept,
        )

    def _approval(self, request_id: str, tool: str, arguments: str) -> ApprovalRecord:
        return ApprovalRecord(
            request_id=request_id,
            server_id=self._server_id,
            label=self.label,
            tool=tool,
            arguments=arguments,
        )

    @property
    def _server_id(self) -> int | None:
        return self._target.spec.id if self._target.is_configured else None

    def write_down(self) -> None:
        """What clients were asked for, once the run is over."""
        for asked in self._asked:
            _afterwards(in_writer(mcp_records.record_approval_request, self._who, asked))

    def _log(
        self, call: ToolCall, outcome: ToolOutcome | None, started: datetime, duration_ms: int
    ) -> None:
        failure = outcome.failure if outcome else None
        _afterwards(
            in_writer(
                mcp_records.log_call,
                CallRecord(
                    who=self._who,
                    server_id=self._server_id,
                    label=self.label,
                    tool=call.name,
                    item_id=call.id,
                    arguments=call.written,
                    outcome="cancelled" if outcome is None else (failure.kind if failure else "ok"),
                    error=failure.message if failure else "",
                    started_at=started,
                    duration_ms=duration_ms,
                ),
            )
        )


def _failed(failure: ToolFailure) -> ToolOutcome:
    return ToolOutcome(failure=failure)
