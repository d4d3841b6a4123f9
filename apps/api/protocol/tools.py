"""Tools and tool choices: what clients may declare, and how it is echoed.

What the model is offered instead is in ``offers.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import AfterValidator, Discriminator, Field, Tag
from pydantic.json_schema import SkipJsonSchema

from apps.api.protocol.hosted_tools import (
    AllowedCallers,
    CodeInterpreterTool,
    McpTool,
    ToolChoiceMcp,
)
from apps.api.protocol.params import Param, TolerantParam, refuse, tag_by_type
from apps.api.protocol.types import JSONObject

ToolName: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=128, pattern=r"^[a-zA-Z0-9_-]+$")
]


def _unbuilt(value: Any) -> Any:
    if value:
        raise refuse("unsupported_parameter", "'{param}' is not supported.")
    return value


Unbuilt: TypeAlias = Annotated[Any, AfterValidator(_unbuilt)]


class DeclaredTool(Param):
    """Base of the tools that clients execute. ``defer_loading`` is a hint for the client's own
    search; who may call is always the model directly."""

    defer_loading: bool | None = None
    allowed_callers: AllowedCallers = None
    async_: Unbuilt = Field(default=None, alias="async")

    def echo(self) -> JSONObject:
        """The tool as the response shows it: as it was sent, with what is never left out."""
        sent: JSONObject = self.model_dump(by_alias=True, exclude_unset=True)
        return sent


class FunctionTool(DeclaredTool):
    """A function that the client executes."""

    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: JSONObject | None = None
    strict: bool | None = None
    output_schema: JSONObject | None = None

    def echo(self) -> JSONObject:
        always = {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
            "strict": self.strict,
        }
        return always | super().echo()


class TextFormat(Param):
    type: Literal["text"]


class GrammarFormat(Param):
    """What a custom tool's input must look like."""

    type: Literal["grammar"]
    syntax: Literal["lark", "regex"]
    definition: str


class CustomTool(DeclaredTool):
    """A tool whose input is a text, not JSON."""

    type: Literal["custom"]
    name: ToolName
    description: str | None = None
    format: (
        Annotated[
            Annotated[TextFormat, Tag("#text")] | Annotated[GrammarFormat, Tag("#grammar")],
            Discriminator(tag_by_type(("text", "grammar"))),
        ]
        | None
    ) = None


class NamespaceTool(Param):
    """A group of tools; calls name the group and the tool."""

    type: Literal["namespace"]
    name: ToolName
    description: str | None = None
    tools: list[
        Annotated[
            Annotated[FunctionTool, Tag("#function")] | Annotated[CustomTool, Tag("#custom")],
            Discriminator(tag_by_type(("function", "custom"))),
        ]
    ]

    def echo(self) -> JSONObject:
        return {
            "type": "namespace",
            "name": self.name,
            "description": self.description or "",
            "tools": [tool.echo() for tool in self.tools],
        }


def _client_only(value: str | None) -> str | None:
    if value != "client":
        raise refuse("unsupported_value", "Tool search is supported with 'execution': 'client'.")
    return value


class ToolSearchTool(DeclaredTool):
    """Lets the model ask the client for more tools."""

    type: Literal["tool_search"]
    execution: Annotated[str | None, AfterValidator(_client_only)]
    description: str | None = None
    parameters: JSONObject | None = None


class LocalShellTool(DeclaredTool):
    type: Literal["local_shell"]


def _local_only(value: JSONObject | None) -> JSONObject | None:
    if value is not None and value.get("type") != "local":
        raise refuse("unsupported_value", "Only the environment of type 'local' is supported.")
    return value


class ShellTool(DeclaredTool):
    type: Literal["shell"]
    environment: Annotated[JSONObject | None, AfterValidator(_local_only)] = None


class ApplyPatchTool(DeclaredTool):
    type: Literal["apply_patch"]


HostedType: TypeAlias = Literal[
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
    "file_search",
    "image_generation",
    "computer",
    "computer_use_preview",
    "programmatic_tool_calling",
]
"""Hosted tools of the API that this gateway does not offer: declared, they are left out visibly."""

HOSTED = frozenset(get_args(HostedType))


class HostedTool(TolerantParam):
    """Any of those. Kept for the echo alone."""

    type: HostedType
    model_config = TolerantParam.model_config | {"extra": "allow"}

    def echo(self) -> JSONObject:
        sent: JSONObject = self.model_dump()
        return sent


def _refuse_tool(kind: str) -> str:
    raise refuse("unsupported_value", f"Tools of type {kind!r} are not supported.")


class OtherTool(TolerantParam):
    """Catches every tool that is not known, to name its type in the error."""

    type: Annotated[str, AfterValidator(_refuse_tool)]


KNOWN = (
    "function", "custom", "namespace", "tool_search", "local_shell", "shell", "apply_patch",
    "code_interpreter", "mcp",
)  # fmt: skip


def _tag(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "#hosted" if isinstance(kind, str) and kind in HOSTED else tag_by_type(KNOWN)(value)


Tool: TypeAlias = Annotated[
    Annotated[FunctionTool, Tag("#function")]
    | Annotated[CustomTool, Tag("#custom")]
    | Annotated[NamespaceTool, Tag("#namespace")]
    | Annotated[ToolSearchTool, Tag("#tool_search")]
    | Annotated[LocalShellTool, Tag("#local_shell")]
    | Annotated[ShellTool, Tag("#shell")]
    | Annotated[ApplyPatchTool, Tag("#apply_patch")]
    | Annotated[CodeInterpreterTool, Tag("#code_interpreter")]
    | Annotated[McpTool, Tag("#mcp")]
    | Annotated[HostedTool, Tag("#hosted")]
    | SkipJsonSchema[Annotated[OtherTool, Tag("#other")]],
    Discriminator(_tag),
]
KnownTool: TypeAlias = (
    FunctionTool
    | CustomTool
    | NamespaceTool
    | ToolSearchTool
    | LocalShellTool
    | ShellTool
    | ApplyPatchTool
    | CodeInterpreterTool
    | McpTool
    | HostedTool
)
GatewayTool: TypeAlias = CodeInterpreterTool | McpTool
"""The tools that the gateway runs itself."""

GATEWAY_TOOLS = ("code_interpreter", "mcp")
"""Their types. They take no names from the client's functions."""


def known_tools(tools: Sequence[KnownTool | OtherTool] | None) -> list[KnownTool]:
    """The declared tools. Unknown ones were refused by validation."""
    return [tool for tool in tools or () if not isinstance(tool, OtherTool)]


def declared_names(tools: Sequence[KnownTool]) -> Iterator[tuple[str, str | None, str]]:
    """(type, group, name) of all that must be declared once; tools without a name go by their
    type, servers by their label."""
    for tool in tools:
        match tool:
            case NamespaceTool():
                for inner in tool.tools:
                    yield inner.type, tool.name, inner.name
            case FunctionTool() | CustomTool():
                yield tool.type, None, tool.name
            case McpTool():
                yield tool.type, "mcp", tool.server_label
            case HostedTool():
                pass
            case _:
                yield tool.type, None, tool.type


# --- Choices --------------------------------------------------------------------------------------

ToolChoiceMode: TypeAlias = Literal["auto", "none", "required"]


class ToolChoiceNamed(Param):
    """Makes the model call this function or custom tool."""

    type: Literal["function", "custom"]
    name: str
    namespace: str | None = None


class ToolChoiceType(Param):
    """Makes the model call the tool that goes by its type."""

    type: Literal["local_shell", "shell", "apply_patch", "tool_search", "code_interpreter"]


class AllowedTool(TolerantParam):
    """Names one declared tool."""

    type: str
    name: str | None = None
    namespace: str | None = None
    server_label: str | None = None
    model_config = TolerantParam.model_config | {"extra": "allow"}


class ToolChoiceAllowed(Param):
    """Limits the model to some of the declared tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[AllowedTool], Field(min_length=1, max_length=128)]


def _refuse_choice(kind: str) -> str:
    raise refuse("unsupported_value", f"Tool choices of type {kind!r} are not supported.")


class OtherToolChoice(TolerantParam):
    """Catches every choice that is not supported, hosted tools among them."""

    type: Annotated[str, AfterValidator(_refuse_choice)]


_CHOICES = {
    "function": "#named",
    "custom": "#named",
    "allowed_tools": "#allowed",
    "local_shell": "#type",
    "shell": "#type",
    "apply_patch": "#type",
    "tool_search": "#type",
    "code_interpreter": "#type",
    "mcp": "#mcp",
}


def _choice_tag(value: Any) -> str:
    if isinstance(value, dict | Param | TolerantParam):
        kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
        return _CHOICES.get(kind, "#other") if isinstance(kind, str) else "#other"
    return "#mode"


ToolChoice: TypeAlias = Annotated[
    Annotated[ToolChoiceMode, Tag("#mode")]
    | Annotated[ToolChoiceNamed, Tag("#named")]
    | Annotated[ToolChoiceType, Tag("#type")]
    | Annotated[ToolChoiceMcp, Tag("#mcp")]
    | Annotated[ToolChoiceAllowed, Tag("#allowed")]
    | SkipJsonSchema[Annotated[OtherToolChoice, Tag("#other")]],
    Discriminator(_choice_tag),
]
