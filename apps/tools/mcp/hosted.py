"""stdio servers: programs that the machine's tool host owns, and the way to them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import mcp_types as types
from opentelemetry.context import attach
from opentelemetry.propagate import extract, inject

from apps.store.db import in_thread
from apps.store.errors import StoreUnavailable
from apps.store.mcp_servers import ListedTool, ServerSpec, server_by_id
from apps.store.models.mcp_server import STDIO
from apps.tools.base import ToolUnavailable
from apps.tools.conf import conf
from apps.tools.frames import Frame
from apps.tools.host import Conversation, ServiceError
from apps.tools.host_client import HostGone, HostRefused, converse
from apps.tools.mcp.connection import Busy, ClientConnection, McpFailure, OnProgress, listed
from apps.tools.mcp.programs import Programs
from apps.tools.mcp.progress import beats

SERVICE = "mcp"
BUSY = "busy"
LEEWAY = 10.0
"""Seconds beyond the limits that the host itself keeps: for ending a program that makes room."""


# --- In server processes --------------------------------------------------------------------------


class HostConnection:
    """Asks the tool host for each request: it keeps the program, which those of one ``scope``
    share."""

    def __init__(self, spec: ServerSpec, scope: str) -> None:
        self.stale = False
        self._spec, self._scope = spec, scope
        self._changes = 0

    @property
    def is_open(self) -> bool:
        return True

    async def list_tools(self) -> list[ListedTool]:
        self.stale = False
        answer = await self._ask({"op": "list"}, self._spec.connect_timeout, lambda: None)
        self._changes = answer["changes"]
        return [listed(types.Tool.model_validate(tool)) for tool in answer["tools"]]

    async def call(
        self, tool: str, arguments: Mapping[str, Any], *, time_limit: float, on_progress: OnProgress
    ) -> types.CallToolResult:
        trace: dict[str, str] = {}
        inject(trace)
        request = {
            "op": "call",
            "tool": tool,
            "arguments": dict(arguments),
            "limit": time_limit,
            "trace": trace,
        }
        answer = await self._ask(request, time_limit, on_progress)
        if answer["changes"] != self._changes:  # other processes may have listed them since
            self.stale = True
        return types.CallToolResult.model_validate(answer["result"])

    async def retire(self) -> None:
        """The program belongs to the host, which ends it when the server changes."""

    async def close(self) -> None:
        """As above."""

    async def _ask(
        self, request: Mapping[str, Any], limit: float, on_progress: OnProgress
    ) -> dict[str, Any]:
        """``limit`` is for what is asked once the program has started, which has its own."""
        asked = {**request, "server": self._spec.id, "scope": self._scope}
        limit += self._spec.connect_timeout + LEEWAY
        try:
            async with asyncio.timeout(limit), converse(SERVICE, asked) as talk:
                async for frame in talk:
                    if "progress" not in frame.message:
                        return dict(frame.message)
                    on_progress()
        except ToolUnavailable as exc:  # a host that went away may have done it, or half of it
            raise McpFailure(str(exc), reached=isinstance(exc, HostGone)) from exc
        except HostRefused as exc:
            raise _failure(exc) from exc
        except TimeoutError:
            raise McpFailure("The tool host did not answer in time.", reached=True) from None
        raise McpFailure("The tool host said nothing.", reached=True)


def _failure(refused: HostRefused) -> McpFailure:
    if refused.kind == BUSY:
        return Busy(str(refused))
    is_known = refused.kind in ("protocol_error", "http_error", "tool_error")
    kind: Any = refused.kind if is_known else "unavailable"
    return McpFailure(str(refused), kind=kind, reached=True)


# --- In the tool host -----------------------------------------------------------------------------


class McpService:
    """The stdio servers of this machine."""

    name = SERVICE

    def __init__(self) -> None:
        self._programs = Programs()
        self._errors: dict[int, str] = {}

    @classmethod
    def wanted(cls) -> bool:
        return conf.MCP

    async def start(self) -> None:
        """Programs start when they are needed."""
        self._programs.look_after()

    async def handle(self, request: Frame, conversation: Conversation) -> None:
        message = request.message
        server = await self._spec(int(message["server"]))
        try:
            async with self._programs.use(server, message["scope"]) as connection:
                self._errors.pop(server.id, None)
                if message["op"] == "call":
                    await self._call(connection, message, conversation)
                    return
                changes = connection.changes
                tools = [_sent(tool) for tool in await connection.list_tools()]
            await conversation.send({"tools": tools, "changes": changes})
        except Busy as exc:
            raise ServiceError(str(exc), kind=BUSY) from exc
        except McpFailure as exc:
            self._errors[server.id] = str(exc)
            raise ServiceError(str(exc), kind=exc.kind) from exc

    async def _call(
        self, connection: ClientConnection, message: Mapping[str, Any], conversation: Conversation
    ) -> None:
        attach(extract(message["trace"]))  # for this conversation's task, which ends with it
        progressed = asyncio.Event()
        work = asyncio.create_task(
            connection.call(
                message["tool"],
                message["arguments"],
                time_limit=float(message["limit"]),
                on_progress=progressed.set,
            )
        )
        try:
            async with aclosing(beats(work, progressed)) as progress:
                async for _ in progress:
                    await conversation.send({"progress": True})
            result = await work
        finally:
            work.cancel()
        dumped = result.model_dump(mode="json", by_alias=True, exclude_none=True)
        await conversation.send({"result": dumped, "changes": connection.changes})

    async def _spec(self, server_id: int) -> ServerSpec:
        """Read anew each time: what the operator has changed counts at once."""
        try:
            spec = await in_thread(server_by_id, server_id)
        except StoreUnavailable as exc:
            raise ServiceError("The database cannot be reached.", kind="unavailable") from exc
        if spec is None or not spec.enabled or spec.transport != STDIO:
            raise ServiceError("There is no such server.", kind="unavailable")
        return spec

    def status(self) -> Mapping[str, Any]:
        return {"running": self._programs.running, "errors": len(self._errors)}

    async def stop(self) -> None:
        await self._programs.close()


def _sent(tool: ListedTool) -> dict[str, Any]:
    """A tool as the protocol has it."""
    sent: dict[str, Any] = {
        "name": tool.name,
        "title": tool.title or None,
        "description": tool.description,
        "inputSchema": tool.input_schema,
        "outputSchema": tool.output_schema,
        "annotations": tool.annotations or None,
    }
    return {name: value for name, value in sent.items() if value is not None}
