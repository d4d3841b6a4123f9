"""The tools that the gateway runs itself: how they are declared, chosen and echoed."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, Discriminator, Field, Tag

from apps.api.protocol.params import Id, Param, refuse
from apps.api.protocol.types import JSONObject


def _direct_only(callers: list[str] | None) -> list[str] | None:
    if callers is not None and "direct" not in callers:
        raise refuse("unsupported_value", "Programmatic tool calling is not supported.")
    return callers


AllowedCallers: TypeAlias = Annotated[list[str] | None, AfterValidator(_direct_only)]


def _form(value: Any) -> str:
    """Tells the short form of a value, a text or a list, from its long one."""
    return "#short" if isinstance(value, str | list) else "#long"


def no_network(policy: JSONObject | None) -> JSONObject | None:
    """Code never reaches a network."""
    if policy is not None and policy != {"type": "disabled"}:
        raise refuse("unsupported_value", "Only the network policy 'disabled' is supported.")
    return policy


def no_skills(skills: list[Any] | None) -> list[Any] | None:
    if skills:
        raise refuse("unsupported_parameter", "'{param}' is not supported.")
    return skills


class AutoContainer(Param):
    """A container that is made when it is needed."""

    type: Literal["auto"]
    file_ids: Annotated[list[Id], Field(max_length=50)] | None = None
    memory_limit: Literal["1g", "4g", "16g", "64g"] | None = None
    network_policy: Annotated[JSONObject | None, AfterValidator(no_network)] = None
    skills: Annotated[list[Any] | None, AfterValidator(no_skills)] = None


class CodeInterpreterTool(Param):
    type: Literal["code_interpreter"]
    container: Annotated[
        Annotated[Id, Tag("#short")] | Annotated[AutoContainer, Tag("#long")],
        Discriminator(_form),
    ]
    allowed_callers: AllowedCallers = None

    def echo(self) -> JSONObject:
        sent: JSONObject = self.model_dump(exclude_unset=True)
        return sent


class ToolFilter(Param):
    """Some of a server's tools: by name, or all that only read."""

    tool_names: list[str] | None = None
    read_only: bool | None = None


class ApprovalFilter(Param):
    """Which tools need approval always, and which never."""

    always: ToolFilter | None = None
    never: ToolFilter | None = None


Label: TypeAlias = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")]


class McpTool(Param):
    """A server of the operator's (``server_label`` alone) or of the client's (``server_url``)."""

    type: Literal["mcp"]
    server_label: Label
    server_url: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    server_description: Annotated[str, Field(max_length=4096)] | None = None
    connector_id: str | None = None
    tunnel_id: str | None = None
    authorization: Annotated[str, Field(max_length=8192)] | None = None
    headers: dict[str, str] | None = None
    allowed_tools: (
        Annotated[
            Annotated[list[str], Tag("#short")] | Annotated[ToolFilter, Tag("#long")],
            Discriminator(_form),
        ]
        | None
    ) = None
    require_approval: (
        Annotated[
            Annotated[Literal["always", "never"], Tag("#short")]
            | Annotated[ApprovalFilter, Tag("#long")],
            Discriminator(_form),
        ]
        | None
    ) = None
    defer_loading: bool | None = None
    allowed_callers: AllowedCallers = None

    def echo(self) -> JSONObject:
        """Without secrets: of the URL only its origin, of credentials nothing."""
        secret = {"authorization", "headers", "server_url"}
        sent: JSONObject = self.model_dump(exclude_unset=True, exclude=secret)
        shown = {"allowed_tools": None, "require_approval": None} | sent | {"headers": None}
        return shown | ({"server_url": origin(self.server_url)} if self.server_url else {})


def origin(url: str) -> str:
    """Scheme, host and port."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return "<invalid>"
    return f"{parts.scheme}://{parts.hostname or ''}{port}"


class ToolChoiceMcp(Param):
    """Makes the model call one of a server's tools, or this one."""

    type: Literal["mcp"]
    server_label: str
    name: str | None = None
