"""The MCP servers that operators have set up, as those see them who speak to the servers.

Plain functions, each one transaction: asynchronous callers pass them to ``apps.store.db``. What is
cached of their results is stale once ``Configuration.version`` changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from apps.store.models import Configuration, McpHealth, McpServer, McpTool
from apps.store.models.mcp_server import ALWAYS, CLOSED, OPEN, PER_TOOL

LONGEST_NAME, LONGEST_TITLE = 255, 512
"""Characters of a tool's, as the table has them."""


@dataclass(frozen=True, slots=True)
class ToolSwitch:
    """What the operator says of one tool."""

    enabled: bool
    needs_approval: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec:
    """One server. Times are in seconds, ``result_limit`` in characters.

    ``version`` changes with the server itself, not with the switches of its tools. ``allowed_tools``
    is None for all. Of HTTP transports ``url`` and the secrets mean something, of ``stdio`` the
    command; ``env`` is the child's whole environment.
    """

    id: int
    label: str
    version: int
    description: str
    enabled: bool
    transport: str
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    bearer_token: str = field(default="", repr=False)
    oauth_client_id: str = ""
    oauth_client_secret: str = field(default="", repr=False)
    oauth_issuer: str = ""
    oauth_scope: str = ""
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str = ""
    connect_timeout: float
    call_timeout: float
    result_limit: int
    concurrency: int
    session_scope: str
    allowed_tools: frozenset[str] | None
    read_only: bool
    trusted: bool
    approval: str
    switches: Mapping[str, ToolSwitch]

    def admits(self, tool: str, annotations: Mapping[str, Any] | None) -> bool:
        """Whether the operator lets models call this tool."""
        if self.allowed_tools is not None and tool not in self.allowed_tools:
            return False
        if self.read_only and not self.is_read_only(annotations):
            return False
        switch = self.switches.get(tool)
        return switch is None or switch.enabled

    def is_read_only(self, annotations: Mapping[str, Any] | None) -> bool:
        """Whether the tool is believed to change nothing."""
        return self.trusted and annotations is not None and annotations.get("readOnlyHint") is True

    def needs_approval(self, tool: str) -> bool:
        """Whether the operator wants calls of this tool approved, whatever the request says."""
        if self.approval == PER_TOOL:
            switch = self.switches.get(tool)
            return switch is None or switch.needs_approval
        return self.approval == ALWAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedTool:
    """A tool as the server lists it."""

    name: str
    title: str = ""
    description: str = ""
    input_schema: Mapping[str, Any] = field(default_factory=dict)
    output_schema: Mapping[str, Any] | None = None
    annotations: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_nameable(self) -> bool:
        """Whether its name can be kept: switches go by it, so it is not cut."""
        return 0 < len(self.name) <= LONGEST_NAME and "\0" not in self.name

    @property
    def fingerprint(self) -> str:
        """Changes with whatever the model is told of the tool: approvals are for one of these."""
        told = [self.name, self.description, self.input_schema]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerHealth:
    """How the server did of late."""

    last_success_at: datetime | None = None
    last_error_at: datetime | None = None
    last_error: str = ""
    latency_ms: int | None = None
    failures: int = 0
    breaker: str = CLOSED
    retry_at: datetime | None = None
    tools_listed_at: datetime | None = None

    @property
    def is_away(self) -> bool:
        """Whether the server is left alone for now, since it could not be reached."""
        waits = self.retry_at is not None and self.retry_at > timezone.now()
        return self.breaker == OPEN and waits


# --- Servers --------------------------------------------------------------------------------------


def server_for(label: str, project_id: int) -> ServerSpec | None:
    """The server that this project calls so, also a disabled one; None when there is none, or only
    for others. Raises SecretUnreadable."""
    server = visible(project_id).filter(label=label).first()
    return spec(server) if server else None


def servers_for(project_id: int) -> list[ServerSpec]:
    """The servers that this project may use, disabled ones too, by label. Raises SecretUnreadable."""
    return [spec(server) for server in visible(project_id)]


def enabled_servers() -> list[ServerSpec]:
    """All enabled servers, whoever may use them. Raises SecretUnreadable."""
    return [
        spec(server) for server in McpServer.objects.filter(enabled=True).prefetch_related("tools")
    ]


def server_by_id(server_id: int) -> ServerSpec | None:
    """One server. Raises SecretUnreadable."""
    server = McpServer.objects.filter(pk=server_id).first()
    return spec(server) if server else None


def versions_of(server_ids: Iterable[int]) -> dict[int, int]:
    """The versions of those that are there and enabled."""
    found = McpServer.objects.filter(pk__in=set(server_ids), enabled=True)
    return dict(found.values_list("pk", "version"))


def visible(project_id: int) -> QuerySet[McpServer]:
    """The servers that this project may use, with their tools."""
    theirs = McpServer.projects.through.objects.filter(project_id=project_id).values("mcpserver_id")
    return McpServer.objects.filter(Q(every_project=True) | Q(pk__in=theirs)).prefetch_related(
        "tools"
    )


def spec(server: McpServer) -> ServerSpec:
    """The server with its secrets. Raises SecretUnreadable."""
    return ServerSpec(
        id=server.pk,
        label=server.label,
        version=server.version,
        description=server.description,
        enabled=server.enabled,
        transport=server.transport,
        url=server.url,
        headers=server.headers.reveal_mapping(),
        bearer_token=server.bearer_token.reveal(),
        oauth_client_id=server.oauth_client_id,
        oauth_client_secret=server.oauth_client_secret.reveal(),
        oauth_issuer=server.oauth_issuer,
        oauth_scope=server.oauth_scope,
        command=server.command,
        args=tuple(server.args),
        env=server.env.reveal_mapping(),
        cwd=server.cwd,
        connect_timeout=server.connect_timeout,
        call_timeout=server.call_timeout,
        result_limit=server.result_limit,
        concurrency=server.concurrency,
        session_scope=server.session_scope,
        allowed_tools=None if server.allowed_tools is None else frozenset(server.allowed_tools),
        read_only=server.read_only,
        trusted=server.trusted,
        approval=server.approval,
        switches={
            tool.name: ToolSwitch(tool.enabled, tool.needs_approval) for tool in server.tools.all()
        },
    )


# --- Tools ----------------------------------------------------------------------------------------


def tools_of(server_id: int) -> list[ListedTool]:
    """The tools as the server listed them last, in its order, also those that are switched off."""
    return [
        ListedTool(
            name=tool.name,
            title=tool.title,
            description=tool.description,
            input_schema=json.loads(tool.input_schema),
            output_schema=json.loads(tool.output_schema) if tool.output_schema else None,
            annotations=json.loads(tool.annotations),
        )
        for tool in McpTool.objects.filter(server_id=server_id, gone_at=None)
    ]


@transaction.atomic
def save_tools(server_id: int, tools: Sequence[ListedTool]) -> bool:
    """Keep what the server lists now, and the operator's switches. True, and a new version of the
    configuration, when something has changed. Of tools with one name, the first counts; those
    whose name cannot be kept are left out."""
    if not McpServer.objects.select_for_update().filter(pk=server_id).exists():
        return False  # deleted meanwhile
    now = timezone.now()
    known = {tool.name: tool for tool in McpTool.objects.filter(server_id=server_id)}
    listed = _in_order(tools)
    changed = [
        row
        for position, tool in enumerate(listed)
        if (row := _changed(known.get(tool.name), tool, position, server_id, now)) is not None
    ]
    for row in changed:
        row.save()
    gone = McpTool.objects.filter(server_id=server_id, gone_at=None).exclude(
        name__in=[tool.name for tool in listed]
    )
    anything = bool(gone.update(gone_at=now)) or bool(changed)
    McpHealth.objects.update_or_create(server_id=server_id, defaults={"tools_listed_at": now})
    if anything:
        Configuration.bump()
    return anything


def _in_order(tools: Iterable[ListedTool]) -> list[ListedTool]:
    first: dict[str, ListedTool] = {}
    for tool in tools:
        if tool.is_nameable:
            first.setdefault(tool.name, tool)
    return list(first.values())


def _changed(
    row: McpTool | None, tool: ListedTool, position: int, server_id: int, now: datetime
) -> McpTool | None:
    """The row as it has to be saved; None when it is right as it is."""
    new = {
        "title": _text(tool.title)[:LONGEST_TITLE],
        "description": _text(tool.description),
        "input_schema": json.dumps(tool.input_schema),
        "output_schema": "" if tool.output_schema is None else json.dumps(tool.output_schema),
        "annotations": json.dumps(tool.annotations),
        "position": position,
        "gone_at": None,
    }
    if row is None:
        row = McpTool(server_id=server_id, name=tool.name, seen_at=now)
    elif all(getattr(row, name) == value for name, value in new.items()):
        return None
    elif (row.description, row.input_schema) != (new["description"], new["input_schema"]):
        row.seen_at = now
    for name, value in new.items():
        setattr(row, name, value)
    return row


def _text(text: str) -> str:
    return text.replace("\0", "")  # PostgreSQL cannot keep it


# --- Health ---------------------------------------------------------------------------------------


def health_of(server_ids: Iterable[int]) -> dict[int, ServerHealth]:
    """What is known of these servers; nothing of those that were never asked."""
    return {
        row.server_id: ServerHealth(
            last_success_at=row.last_success_at,
            last_error_at=row.last_error_at,
            last_error=row.last_error,
            latency_ms=row.latency_ms,
            failures=row.failures,
            breaker=row.breaker,
            retry_at=row.retry_at,
            tools_listed_at=row.tools_listed_at,
        )
        for row in McpHealth.objects.filter(server_id__in=list(server_ids))
    }


def record_success(
    server_id: int, *, latency_ms: int, server_name: str = "", server_version: str = ""
) -> None:
    """The server answered: its breaker is closed."""
    named = {"server_name": _text(server_name)[:255], "server_version": _text(server_version)[:255]}
    _note(
        server_id,
        last_success_at=timezone.now(),
        latency_ms=latency_ms,
        failures=0,
        breaker=CLOSED,
        retry_at=None,
        **(named if server_name else {}),
    )


def record_failure(server_id: int, error: str) -> None:
    """The server could not be reached or did not answer as it should. ``error`` is shown to
    operators: no body, no secret."""
    _note(server_id, last_error_at=timezone.now(), last_error=_text(error)[:2000])


def record_breaker(
    server_id: int, *, breaker: str, failures: int, retry_at: datetime | None = None
) -> None:
    """What the process that asked last makes of it: ``failures`` in a row, and until when the
    breaker stays ``open``."""
    _note(server_id, failures=failures, breaker=breaker, retry_at=retry_at)


@transaction.atomic
def _note(server_id: int, **values: Any) -> None:
    if McpServer.objects.select_for_update().filter(pk=server_id).exists():
        McpHealth.objects.update_or_create(server_id=server_id, defaults=values)
