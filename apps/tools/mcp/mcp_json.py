"""``mcp.json`` as MCP clients write it, read into entries and written from servers.

Clients agree on ``mcpServers`` and on the members of a stdio server; for the rest, each has names
of its own, of which the usual ones are understood. What only the gateway knows is in a member
``gateway``. Secrets are exported as placeholders, ``${SEARCH_TOKEN}``, which an import fills in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from apps.store.models import McpServer
from apps.store.models.mcp_server import SSE, STDIO, STREAMABLE_HTTP
from apps.store.secrets import Secret
from apps.tools.mcp.addresses import check_operator_url
from apps.tools.mcp.headers import HeaderUnusable, check
from apps.tools.urlguard import Refused

COPIED = (
    "approval",
    "read_only",
    "trusted",
    "session_scope",
    "connect_timeout",
    "call_timeout",
    "result_limit",
    "concurrency",
    "oauth_client_id",
    "oauth_issuer",
    "oauth_scope",
)
"""Members of ``gateway`` that are called as in the model."""
LABEL = re.compile(r"[a-zA-Z0-9_-]{1,64}")
PLACEHOLDER = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
TRANSPORTS = {
    "http": STREAMABLE_HTTP,
    "streamable-http": STREAMABLE_HTTP,
    "streamable_http": STREAMABLE_HTTP,
    "streamableHttp": STREAMABLE_HTTP,
    "sse": SSE,
    "stdio": STDIO,
}
NOT_TAKEN_OVER = {
    "timeout": "clients disagree about its unit; use gateway.call_timeout, in seconds",
    "trust": "it means something else in each client; use gateway.trusted and gateway.approval",
}

Lookup: TypeAlias = Callable[[str], str | None]
"""Gives the value of a variable; None when it is not known."""


class McpJsonError(Exception):
    """The file cannot be imported. ``problems`` name the server and the member."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(" ".join(problems))
        self.problems = list(problems)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ToolEntry(_Strict):
    """The operator's switches of one tool."""

    enabled: bool = True
    needs_approval: bool = True


class GatewayEntry(_Strict):
    """What other clients do not know. Times are in seconds. None leaves a server as it is."""

    approval: Literal["always", "per_tool", "never"] | None = None
    read_only: bool | None = None
    trusted: bool | None = None
    session_scope: Literal["project", "conversation", "shared"] | None = None
    connect_timeout: Annotated[float, Field(ge=0.1, strict=False)] | None = None
    call_timeout: Annotated[float, Field(ge=0.1, strict=False)] | None = None
    result_limit: Annotated[int, Field(ge=1000)] | None = None
    concurrency: Annotated[int, Field(ge=1)] | None = None
    projects: list[str] | Literal["all"] | None = None
    oauth_client_id: str | None = None
    oauth_client_secret: str | None = None
    oauth_issuer: str | None = None
    oauth_scope: str | None = None
    tools: dict[str, ToolEntry] = Field(default_factory=dict)


class _File(BaseModel):
    """One member of ``mcpServers``, under the names that clients use."""

    model_config = ConfigDict(extra="allow", strict=True, alias_generator=to_camel)

    transport: str | None = Field(None, validation_alias=AliasChoices("type", "transport"))
    url: str | None = Field(None, validation_alias=AliasChoices("url", "serverUrl", "httpUrl"))
    headers: dict[str, str] | None = None
    auth: str | None = Field(None, validation_alias=AliasChoices("auth", "bearerToken"))
    command: str | None = None
    args: list[str] = Field(default_factory=list)
    env: dict[str, str] = Field(default_factory=dict)
    cwd: str | None = None
    description: str | None = None
    disabled: bool | None = None
    enabled: bool | None = None
    allowed: list[str] | None = Field(
        None,
        validation_alias=AliasChoices("allowedTools", "includeTools", "enabledTools"),
    )
    barred: list[str] = Field(
        default_factory=list, validation_alias=AliasChoices("disabledTools", "excludeTools")
    )
    approved: list[str] = Field(
        default_factory=list, validation_alias=AliasChoices("alwaysAllow", "autoApprove")
    )
    gateway: GatewayEntry = Field(default_factory=GatewayEntry)


Secrets: TypeAlias = Mapping[str, str | None]
"""Names and values; None for a value that is not in the file: what is stored stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One server as the file has it. None stands for what the file does not say, and for secrets
    whose placeholder has no value, which ``missing`` names. ``ignored`` says which members were not
    taken over, and why."""

    label: str
    transport: str
    url: str = ""
    headers: Secrets | None = field(default=None, repr=False)
    bearer_token: str | None = field(default=None, repr=False)
    oauth_client_secret: str | None = field(default=None, repr=False)
    command: str = ""
    args: tuple[str, ...] = ()
    env: Secrets = field(default_factory=dict, repr=False)
    cwd: str = ""
    description: str | None = None
    enabled: bool | None = None
    allowed_tools: list[str] | None = None
    tools: Mapping[str, ToolEntry] = field(default_factory=dict)
    gateway: GatewayEntry
    missing: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


def parse(text: str | bytes, *, lookup: Lookup) -> list[Entry]:
    """The servers of a file, in its order. ``lookup`` fills in placeholders. Raises McpJsonError
    with everything that is wrong."""
    entries: list[Entry] = []
    problems: list[str] = []
    for label, value in _members(text):
        try:
            entries.append(_entry(label, value, lookup))
        except ValidationError as exc:
            problems += [
                f"{label}: {_where(error['loc'])}{error['msg']}." for error in exc.errors()
            ]
        except ValueError as exc:
            problems.append(f"{label}: {exc}")
    if problems:
        raise McpJsonError(problems)
    return entries


def _members(text: str | bytes) -> Iterator[tuple[str, Any]]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise McpJsonError([f"The file is not JSON: {exc}."]) from exc
    document = document if isinstance(document, dict) else {}
    servers = document.get("mcpServers", document.get("servers"))  # VS Code's name
    if not isinstance(servers, dict):
        raise McpJsonError(["The file has no object “mcpServers”."])
    yield from servers.items()


def _where(location: Sequence[int | str]) -> str:
    return f"{'.'.join(map(str, location))}: " if location else ""


def _entry(label: str, value: Any, lookup: Lookup) -> Entry:
    if not LABEL.fullmatch(label):
        raise ValueError("a label has letters, digits, hyphens and underscores, at most 64.")
    read = _File.model_validate(value)
    transport = _transport(read)
    fill = _Filler(lookup)
    headers = None if read.headers is None else fill.mapping(read.headers)
    headers, bearer = _authorization(headers, fill.secret(read.auth))
    entry = Entry(
        label=label,
        transport=transport,
        url="" if transport == STDIO else fill.needed(read.url or "", "url"),
        headers=headers,
        bearer_token=bearer,
        oauth_client_secret=fill.secret(read.gateway.oauth_client_secret),
        command=fill.needed(read.command or "", "command") if transport == STDIO else "",
        args=tuple(fill.needed(argument, "args") for argument in read.args),
        env=fill.mapping(read.env),
        cwd=fill.needed(read.cwd or "", "cwd"),
        description=read.description,
        enabled=read.enabled if read.disabled is None else not read.disabled,
        allowed_tools=read.allowed,
        tools=_switches(read),
        gateway=read.gateway,
        missing=tuple(fill.missing),
        ignored=tuple(_ignored(read)),
    )
    _check(entry)
    return entry


def _transport(read: _File) -> str:
    if read.transport is None:
        if not read.command and not read.url:
            raise ValueError("it has neither a url nor a command.")
        return STDIO if read.command else STREAMABLE_HTTP
    if read.transport not in TRANSPORTS:
        raise ValueError(f"type: {read.transport!r} is not one of {', '.join(TRANSPORTS)}.")
    return TRANSPORTS[read.transport]


def _check(entry: Entry) -> None:
    if entry.transport == STDIO:
        if not entry.command:
            raise ValueError("command: a stdio server needs one.")
        return
    try:
        check_operator_url(entry.url)
        sent = {**(entry.headers or {}), "Authorization": entry.bearer_token}
        check({name: value or "" for name, value in sent.items()})
    except Refused as exc:
        raise ValueError(f"url: {exc}") from exc
    except HeaderUnusable as exc:
        raise ValueError(f"headers: {exc}") from exc


def _authorization(headers: Secrets | None, token: str | None) -> tuple[Secrets | None, str | None]:
    """A bearer token is kept apart from other headers, wherever the file has it. Values of the
    environment may end with a line break, which headers cannot."""
    token = token and token.strip()
    if headers is None:
        return None, token
    others: dict[str, str | None] = {}
    for name, given in headers.items():
        value = given and given.strip()
        scheme, _, rest = (value or "").partition(" ")
        if name.lower() == "authorization" and scheme.lower() in ("bearer", ""):
            token = token or rest.strip() or None
        else:
            others[name] = value
    return others, token


def _switches(read: _File) -> dict[str, ToolEntry]:
    switches = dict(read.gateway.tools)
    for name in [*read.barred, *read.approved]:
        known = switches.get(name, ToolEntry())
        switches[name] = ToolEntry(
            enabled=known.enabled and name not in read.barred,
            needs_approval=known.needs_approval and name not in read.approved,
        )
    return switches


def _ignored(read: _File) -> Iterator[str]:
    for name in read.model_extra or ():
        yield f"{name} ({NOT_TAKEN_OVER.get(name, 'it is not known here')})"


class _Filler:
    """Fills in placeholders and remembers those that have no value."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self.missing: list[str] = []

    def secret(self, text: str | None) -> str | None:
        """The text; None when a placeholder has no value."""
        filled, missing = self._fill(text or "")
        self.missing += missing
        return None if missing else filled or None

    def mapping(self, texts: Mapping[str, str]) -> Secrets:
        """Each value filled in; None where a placeholder has no value."""
        return {name: self.secret(text) if text else "" for name, text in texts.items()}

    def needed(self, text: str, member: str) -> str:
        """What nothing that is stored could stand in for. Raises ValueError."""
        filled, missing = self._fill(text)
        if missing:
            raise ValueError(f"{member}: {missing[0]} has no value.")
        return filled

    def _fill(self, text: str) -> tuple[str, list[str]]:
        missing: list[str] = []

        def value(match: re.Match[str]) -> str:
            found = self._lookup(match[1])
            if found is None and match[2] is None:
                missing.append(match[1])
            return found if found is not None else match[2] or ""

        return PLACEHOLDER.sub(value, text), missing


# --- Export ---------------------------------------------------------------------------------------


def dump(servers: Iterable[McpServer], *, secrets: bool = False) -> str:
    """The file for these servers. Without ``secrets``, placeholders stand for them. Raises
    SecretUnreadable: the names of headers are encrypted along with their values."""
    document = {"mcpServers": {server.label: _exported(server, secrets) for server in servers}}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _exported(server: McpServer, secrets: bool) -> dict[str, Any]:
    def shown(value: str, *name: str) -> str:
        return value if secrets else "${" + _variable(server.label, *name) + "}"

    def values(secret: Secret) -> dict[str, str]:
        return {name: shown(value, name) for name, value in secret.reveal_mapping().items()}

    own: dict[str, Any] = {"type": server.transport.replace("streamable_http", "http")}
    if server.is_stdio:
        own |= {"command": server.command, "args": server.args, "env": values(server.env)}
        own |= {"cwd": server.cwd} if server.cwd else {}
    else:
        headers = values(server.headers)
        if server.bearer_token:
            headers["Authorization"] = f"Bearer {shown(server.bearer_token.reveal(), 'token')}"
        own |= {"url": server.url} | ({"headers": headers} if headers else {})
    if server.description:
        own["description"] = server.description
    own["disabled"] = not server.enabled
    if server.allowed_tools is not None:
        own["allowedTools"] = server.allowed_tools
    gateway = {name: getattr(server, name) for name in COPIED if getattr(server, name) != ""}
    if server.oauth_client_secret:
        gateway["oauth_client_secret"] = shown(server.oauth_client_secret.reveal(), "oauth_secret")
    gateway["projects"] = (
        "all" if server.every_project else [project.slug for project in server.projects.all()]
    )
    tools = {
        tool.name: {"enabled": tool.enabled, "needs_approval": tool.needs_approval}
        for tool in server.tools.all()
        if not tool.enabled or not tool.needs_approval
    }
    return own | {"gateway": gateway | ({"tools": tools} if tools else {})}


def _variable(*words: str) -> str:
    """The name of an environment variable: ``SEARCH_X_API_KEY``."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", "_".join(words)).upper()
    return name if not name[:1].isdigit() else f"_{name}"
