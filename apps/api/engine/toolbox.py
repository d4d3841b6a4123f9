"""The tools that the gateway runs itself, opened for one run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from apps.api.engine.pictures import Pictures
from apps.api.errors import InvalidRequest, Unavailable
from apps.api.protocol.deltas import ToolsListed
from apps.api.protocol.hosted_tools import CodeInterpreterTool, McpTool
from apps.api.protocol.ids import TurnIds
from apps.api.protocol.offers import GatewayFunction, GatewayFunctions, GatewayKind, Offer
from apps.api.protocol.requests import CreateResponse
from apps.api.protocol.results import CitableFile
from apps.api.protocol.tools import GatewayTool, KnownTool
from apps.api.protocol.types import Item, JSONObject
from apps.tools.base import (
    Artifact,
    FilesRefused,
    RunInfo,
    ServerAway,
    ToolFunction,
    ToolRefused,
    ToolSession,
    ToolUnavailable,
)
from apps.tools.registry import runtime

OPENING = 30.0
"""Seconds in which all tools of a request have to be ready."""


class ToolBox:
    """The sessions of one run, one for each tool that was declared. To be closed."""

    def __init__(self, ids: TurnIds, pictures: Pictures) -> None:
        self._ids, self.pictures = ids, pictures
        self._stack = AsyncExitStack()
        self._sessions: dict[tuple[str, str | None], ToolSession] = {}

    async def open(self, tools: Sequence[KnownTool], run: RunInfo) -> None:
        """Open what the request declares, side by side. Raises InvalidRequest, Unavailable; then
        nothing is left open."""
        ours = {
            f"tools[{position}]": tool
            for position, tool in enumerate(tools)
            if isinstance(tool, CodeInterpreterTool | McpTool)
        }
        if not ours:
            return
        opening = (self._open(tool, run, param=param) for param, tool in ours.items())
        try:
            async with asyncio.timeout(OPENING):
                opened = await asyncio.gather(*opening, return_exceptions=True)
            for tool, session in zip(ours.values(), opened, strict=True):
                if isinstance(session, BaseException):
                    raise session
                label = tool.server_label if isinstance(tool, McpTool) else None
                self._sessions[tool.type, label] = session
        except TimeoutError as exc:
            await self.close()
            raise InvalidRequest(
                f"The tools were not ready within {OPENING:g} seconds.",
                code="invalid_value",
                param="tools",
            ) from exc
        except BaseException:
            await self.close()
            raise

    async def _open(self, tool: GatewayTool, run: RunInfo, *, param: str) -> ToolSession:
        kind = runtime(tool.type)
        if not kind.offered:
            raise InvalidRequest(
                f"Tools of type '{tool.type}' are not offered on this gateway.",
                code="unsupported_value",
                param=f"{param}.type",
            )
        declaration = tool.model_dump(exclude_unset=True)
        try:
            return await self._stack.enter_async_context(kind.open(declaration, run))
        except ToolRefused as exc:
            blamed = f"{param}.{exc.param}" if exc.param else param
            is_away = isinstance(exc, ServerAway)
            code = "mcp_server_unavailable" if is_away else "invalid_value"
            raise InvalidRequest(str(exc), code=code, param=blamed) from exc
        except FilesRefused as exc:
            raise InvalidRequest(str(exc), code="file_too_large", param="input") from exc
        except ToolUnavailable as exc:
            raise Unavailable(str(exc)) from exc

    @property
    def is_open(self) -> bool:
        """Whether there are any: they may bring images, and are to be closed."""
        return bool(self._sessions)

    async def close(self) -> None:
        """Let go of everything. May be called again."""
        await self._stack.aclose()

    # --- What there is ------------------------------------------------------------------------

    def session(self, offer: Offer) -> ToolSession:
        """The session that carries out calls of this function."""
        return self._sessions[offer.kind, offer.label if offer.kind == "mcp" else None]

    def server(self, label: str) -> ToolSession | None:
        """The session of the server that was declared by this label."""
        return self._sessions.get(("mcp", label))

    def functions(self) -> list[GatewayFunctions]:
        """What the model is told of."""
        return [
            GatewayFunctions(
                _kind(kind),
                session.label,
                [self._function(function, session) for function in session.functions],
            )
            for (kind, _), session in self._sessions.items()
        ]

    def _function(self, function: ToolFunction, session: ToolSession) -> GatewayFunction:
        def request_id(arguments: str) -> str:
            return self._ids.mark(session.approval_request_id(function.name, arguments))

        return GatewayFunction(
            function.name,
            function.description,
            dict(function.parameters),
            request_id if function.needs_approval else None,
        )

    def announcements(self, context: Sequence[Item]) -> list[ToolsListed]:
        """The tools of the servers that the context does not list yet."""
        listed = {item["server_label"] for item in context if item["type"] == "mcp_list_tools"}
        return [
            ToolsListed(session.label, [_listed(function) for function in session.functions])
            for (kind, label), session in self._sessions.items()
            if kind == "mcp" and label not in listed
        ]

    def files(self) -> list[CitableFile]:
        """The files that answers may link from the start."""
        sessions = self._sessions.values()
        return [citable(artifact) for session in sessions for artifact in session.artifacts]


async def open_tools(body: CreateResponse, run: RunInfo, ids: TurnIds) -> ToolBox:
    """The tools of a request, open. Raises InvalidRequest, Unavailable."""
    tools = ToolBox(ids, Pictures(run.project_id, kept=run.kept))
    await tools.open(body.declared, run)
    return tools


def citable(artifact: Artifact) -> CitableFile:
    return CitableFile(artifact.id, artifact.container_id, artifact.path)


def _kind(kind: str) -> GatewayKind:
    return "mcp" if kind == "mcp" else "code_interpreter"


def _listed(function: ToolFunction) -> JSONObject:
    """A tool as ``mcp_list_tools`` has it. Typed clients do not take null."""
    entry: JSONObject = {
        "name": function.name,
        "input_schema": _plain(function.parameters),
    }
    if function.description:
        entry["description"] = function.description
    if function.annotations is not None:
        entry["annotations"] = _plain(function.annotations)
    return entry


def _plain(value: Mapping[str, Any]) -> JSONObject:
    return dict(value)
