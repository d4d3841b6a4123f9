"""Input items about what the gateway, or another server of the API, ran: sent back as history."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag
from pydantic.json_schema import SkipJsonSchema

from apps.api.protocol.ids import IdSource
from apps.api.protocol.input_parts import OtherPart, Text
from apps.api.protocol.media import PREFIX
from apps.api.protocol.params import WITHOUT_NUL, Id, TolerantParam, refuse, tag_by_type
from apps.api.protocol.types import Item, JSONObject

ToolStatus: TypeAlias = Literal[
    "in_progress", "interpreting", "calling", "searching", "completed", "incomplete", "failed"
]


class CodeOutput(TolerantParam):
    type: Literal["logs"]
    logs: Text


def _no_reference(url: str) -> str:
    """References are the gateway's own."""
    if url.startswith(PREFIX):
        raise refuse("invalid_value", "Invalid value for '{param}': this is no URL of an image.")
    return url


class ImageOutput(TolerantParam):
    type: Literal["image"]
    url: Annotated[Text, AfterValidator(_no_reference)]


CodeOutputParam: TypeAlias = Annotated[
    Annotated[CodeOutput, Tag("#logs")]
    | Annotated[ImageOutput, Tag("#image")]
    | SkipJsonSchema[Annotated[OtherPart, Tag("#other")]],
    Discriminator(tag_by_type(("logs", "image"))),
]


class CodeInterpreterCallParam(TolerantParam):
    type: Literal["code_interpreter_call"]
    id: Id | None = None
    status: ToolStatus | None = None
    container_id: Annotated[str, Field(max_length=128, pattern=WITHOUT_NUL)] | None = None
    code: Text | None = None
    outputs: list[CodeOutputParam] | None = None

    def to_item(self, ids: IdSource) -> Item:
        return {
            "id": self.id or ids("ci"),
            "status": self.status or "completed",
            "type": self.type,
            "code": self.code or "",
            "container_id": self.container_id or "",
            "outputs": (
                None if self.outputs is None else [output.model_dump() for output in self.outputs]
            ),
        }


class McpListedTool(TolerantParam):
    name: str
    input_schema: Any = None
    description: str | None = None
    annotations: Any = None


class McpListToolsParam(TolerantParam):
    type: Literal["mcp_list_tools"]
    id: Id | None = None
    server_label: str
    tools: list[McpListedTool]
    error: Any = None

    def to_item(self, ids: IdSource) -> Item:
        return {
            "id": self.id or ids("mcpl"),
            "type": self.type,
            "server_label": self.server_label,
            "tools": [tool.model_dump(exclude_unset=True) for tool in self.tools],
        }


def _error_form(error: Any) -> Any:
    """Older servers send a text."""
    if isinstance(error, str):
        return {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": error}]}
    return error


class McpCallParam(TolerantParam):
    type: Literal["mcp_call"]
    id: Id | None = None
    status: ToolStatus | None = None
    server_label: str
    name: Annotated[Text, Field(min_length=1)]
    arguments: Text
    output: Text | None = None
    error: Annotated[JSONObject | None, BeforeValidator(_error_form)] = None
    approval_request_id: Id | None = None

    def to_item(self, ids: IdSource) -> Item:
        return {
            "id": self.id or ids("mcp"),
            "status": self.status or "completed",
            "type": self.type,
            "server_label": self.server_label,
            "name": self.name,
            "arguments": self.arguments,
            "output": self.output,
            "error": self.error,
            "approval_request_id": self.approval_request_id,
        }


class McpApprovalRequestParam(TolerantParam):
    type: Literal["mcp_approval_request"]
    id: Id
    server_label: str
    name: Annotated[Text, Field(min_length=1)]
    arguments: Text

    def to_item(self, ids: IdSource) -> Item:
        return {
            "id": self.id,
            "type": self.type,
            "server_label": self.server_label,
            "name": self.name,
            "arguments": self.arguments,
        }


class McpApprovalResponse(TolerantParam):
    """Whether a call may run."""

    type: Literal["mcp_approval_response"]
    id: Id | None = None
    approval_request_id: Id
    approve: bool
    reason: Annotated[str, Field(max_length=4096)] | None = None

    def to_item(self, ids: IdSource) -> Item:
        return {
            "id": self.id or ids("mcpa"),
            "type": self.type,
            "approval_request_id": self.approval_request_id,
            "approve": self.approve,
            "reason": self.reason,
        }
