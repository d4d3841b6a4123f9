"""Input items about calls of tools other than functions, and items that bring more tools."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from apps.api.protocol.ids import IdSource
from apps.api.protocol.input_parts import CallId, InputContent, ItemStatus, Text, to_content
from apps.api.protocol.items.client_calls import (
    DeleteFile,
    LocalShellAction,
    ShellAction,
    WriteFile,
)
from apps.api.protocol.params import Id, TolerantParam, refuse
from apps.api.protocol.tools import Tool, known_tools
from apps.api.protocol.types import Item, JSONObject


class CallParam(TolerantParam):
    """Base of calls and outputs."""

    id: Id | None = None
    status: ItemStatus | None = None

    def _common(self, prefix: str, ids: IdSource) -> Item:
        kind: str = self.type  # type: ignore[attr-defined] # each subclass has its own
        return {"id": self.id or ids(prefix), "status": self.status or "completed", "type": kind}


class CustomToolCallParam(CallParam):
    type: Literal["custom_tool_call"]
    call_id: CallId
    name: Annotated[str, Field(min_length=1, max_length=128)]
    namespace: str | None = None
    input: Text

    def to_item(self, ids: IdSource) -> Item:
        item = self._common("ctc", ids) | {
            "call_id": self.call_id,
            "input": self.input,
            "name": self.name,
        }
        return item | ({"namespace": self.namespace} if self.namespace is not None else {})


class CustomToolCallOutput(CallParam):
    type: Literal["custom_tool_call_output"]
    call_id: CallId
    output: InputContent

    def to_item(self, ids: IdSource) -> Item:
        return self._common("ctco", ids) | {
            "call_id": self.call_id,
            "output": to_content(self.output),
        }


class LocalShellCallParam(CallParam):
    type: Literal["local_shell_call"]
    call_id: CallId
    action: LocalShellAction

    def to_item(self, ids: IdSource) -> Item:
        return self._common("lsh", ids) | {
            "call_id": self.call_id,
            "action": self.action.model_dump(),
        }


class LocalShellCallOutput(CallParam):
    """Names its call by ``call_id``, or, as the API's description has it, by ``id``."""

    type: Literal["local_shell_call_output"]
    call_id: CallId | None = None
    output: Text

    @model_validator(mode="after")
    def _names_its_call(self) -> Self:
        if self.call_id is None and self.id is None:
            raise refuse("missing_required_parameter", "Missing required parameter: 'call_id'.")
        return self

    def to_item(self, ids: IdSource) -> Item:
        return self._common("lsho", ids) | {
            "call_id": self.call_id or self.id,
            "output": self.output,
        }


class ShellCallParam(CallParam):
    type: Literal["shell_call"]
    call_id: CallId
    action: ShellAction
    environment: JSONObject | None = None

    def to_item(self, ids: IdSource) -> Item:
        return self._common("sh", ids) | {
            "call_id": self.call_id,
            "action": self.action.model_dump(),
            "environment": self.environment,
        }


class ShellOutcome(TolerantParam):
    type: Literal["exit", "timeout"]
    exit_code: int | None = None


class ShellOutput(TolerantParam):
    """What one command printed, and how it ended."""

    stdout: Text
    stderr: Text
    outcome: ShellOutcome


class ShellCallOutput(CallParam):
    type: Literal["shell_call_output"]
    call_id: CallId
    output: list[ShellOutput]
    max_output_length: int | None = None

    def to_item(self, ids: IdSource) -> Item:
        return self._common("sho", ids) | {
            "call_id": self.call_id,
            "output": [entry.model_dump(exclude_none=True) for entry in self.output],
            "max_output_length": self.max_output_length,
        }


class ApplyPatchCallParam(CallParam):
    type: Literal["apply_patch_call"]
    call_id: CallId
    operation: Annotated[WriteFile | DeleteFile, Field(discriminator="type")]

    def to_item(self, ids: IdSource) -> Item:
        return self._common("apc", ids) | {
            "call_id": self.call_id,
            "operation": self.operation.model_dump(),
        }


class ApplyPatchCallOutput(TolerantParam):
    type: Literal["apply_patch_call_output"]
    id: Id | None = None
    call_id: CallId
    status: Literal["completed", "failed"]
    output: Text | None = None

    def to_item(self, ids: IdSource) -> Item:
        return {
            "id": self.id or ids("apco"),
            "status": self.status,
            "type": self.type,
            "call_id": self.call_id,
            "output": self.output,
        }


class ToolSearchCallParam(CallParam):
    type: Literal["tool_search_call"]
    call_id: CallId
    execution: Literal["client"] = "client"
    arguments: Any = None

    def to_item(self, ids: IdSource) -> Item:
        return self._common("tsc", ids) | {
            "call_id": self.call_id,
            "execution": self.execution,
            "arguments": self.arguments,
        }


class ToolSearchOutput(CallParam):
    """What the client found: tools that may be called from here on."""

    type: Literal["tool_search_output"]
    call_id: CallId
    execution: Literal["client"] = "client"
    tools: list[Tool]

    def to_item(self, ids: IdSource) -> Item:
        return self._common("tso", ids) | {
            "call_id": self.call_id,
            "execution": self.execution,
            "tools": [tool.echo() for tool in known_tools(self.tools)],
        }


class AdditionalTools(TolerantParam):
    """Tools that come with the input instead of with the request."""

    type: Literal["additional_tools"]
    id: Id | None = None
    role: Literal["developer"] = "developer"
    tools: list[Tool]

    def to_item(self, ids: IdSource) -> Item:
        return {
            "id": self.id or ids("at"),
            "type": self.type,
            "role": self.role,
            "tools": [tool.echo() for tool in known_tools(self.tools)],
        }


BRINGS_TOOLS = ("tool_search_output", "additional_tools")
"""Items whose ``tools`` the model may call."""

OtherCall: TypeAlias = (
    CustomToolCallParam
    | CustomToolCallOutput
    | LocalShellCallParam
    | LocalShellCallOutput
    | ShellCallParam
    | ShellCallOutput
    | ApplyPatchCallParam
    | ApplyPatchCallOutput
    | ToolSearchCallParam
    | ToolSearchOutput
    | AdditionalTools
)
