"""Input items: what clients may send, and the form in which it is kept.

``to_item`` gives the kept form: an Item with type, id and content as parts, whatever the client
left out. Items that we emitted come back as they were.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Discriminator, Field, Tag
from pydantic.json_schema import SkipJsonSchema

from apps.api.protocol import input_calls as calls
from apps.api.protocol import input_hosted as hosted
from apps.api.protocol.ids import IdSource
from apps.api.protocol.input_parts import (
    AgentPart,
    AssistantContent,
    CallId,
    InputContent,
    ItemStatus,
    OtherPart,
    OutputTextParam,
    ReasoningPart,
    Text,
    TextContent,
    text_or_list,
    to_content,
)
from apps.api.protocol.params import Id, TolerantParam, refuse
from apps.api.protocol.types import Item, JSONObject

# --- Items ----------------------------------------------------------------------------------------


class GivenMessage(TolerantParam):
    """Base of what the model is told."""

    type: Literal["message"] | None = None
    id: Id | None = None
    status: ItemStatus | None = None

    def _item(self, role: str, content: InputContent | TextContent, ids: IdSource) -> Item:
        return _message(self.id or ids("msg"), role, to_content(content), self.status)


def _message(
    item_id: str, role: str, parts: str | list[JSONObject], status: ItemStatus | None = None
) -> Item:
    if isinstance(parts, str):
        parts = [{"type": "input_text", "text": parts}]
    return {
        "type": "message",
        "id": item_id,
        "role": role,
        "status": status or "completed",
        "content": parts,
    }


class InputMessage(GivenMessage):
    """A message of the user, with images and files. It names all roles, for the error of a message
    that has another one."""

    role: Literal["user", "system", "developer"]
    content: InputContent

    def to_item(self, ids: IdSource) -> Item:
        return self._item(self.role, self.content, ids)


class SystemMessage(GivenMessage):
    """A message of the system or of the developer: text."""

    role: Literal["system", "developer"]
    content: TextContent

    def to_item(self, ids: IdSource) -> Item:
        return self._item(self.role, self.content, ids)


class AssistantMessage(TolerantParam):
    """A message of the model, ours or some other server's."""

    type: Literal["message"] | None = None
    id: Id | None = None
    role: Literal["assistant"]
    status: ItemStatus | None = None
    phase: Literal["commentary", "final_answer"] | None = None
    content: AssistantContent

    def to_item(self, ids: IdSource) -> Item:
        if isinstance(self.content, str):
            content = [OutputTextParam(type="output_text", text=self.content).to_part()]
        else:
            content = [p.to_part() for p in self.content if not isinstance(p, OtherPart)]
        item: Item = {
            "id": self.id or ids("msg"),
            "status": self.status or "completed",
            "type": "message",
            "role": "assistant",
            "content": content,
        }
        return item | ({"phase": self.phase} if self.phase else {})


class ReasoningParam(TolerantParam):
    """Reasoning that some model did. What only its maker can read is kept, not shown."""

    type: Literal["reasoning"]
    id: Id | None = None
    status: ItemStatus | None = None
    summary: list[ReasoningPart] | None = None
    content: list[ReasoningPart] | None = None
    encrypted_content: str | None = None

    def to_item(self, ids: IdSource) -> Item:
        item: Item = {
            "id": self.id or ids("rs"),
            "status": self.status or "completed",
            "type": "reasoning",
            "summary": [part.to_part() for part in self.summary or ()],
            "content": [part.to_part() for part in self.content or ()],
        }
        foreign = self.encrypted_content
        return item | ({"encrypted_content": foreign} if foreign is not None else {})


class AgentMessage(TolerantParam):
    """What one agent of the client's told another one."""

    type: Literal["agent_message"]
    id: Id | None = None
    author: Text
    recipient: Text
    content: list[AgentPart]

    def to_item(self, ids: IdSource) -> Item:
        return {
            "type": "agent_message",
            "id": self.id or ids("amsg"),
            "author": self.author,
            "recipient": self.recipient,
            "content": [p.to_part() for p in self.content if not isinstance(p, OtherPart)],
        }


class FunctionCallParam(TolerantParam):
    type: Literal["function_call"]
    id: Id | None = None
    status: ItemStatus | None = None
    call_id: CallId
    name: Annotated[Text, Field(min_length=1)]  # models make names up
    namespace: str | None = None
    arguments: Text

    def to_item(self, ids: IdSource) -> Item:
        item: Item = {
            "id": self.id or ids("fc"),
            "status": self.status or "completed",
            "type": "function_call",
            "arguments": self.arguments,
            "call_id": self.call_id,
            "name": self.name,
        }
        return item | ({"namespace": self.namespace} if self.namespace is not None else {})


class FunctionCallOutput(TolerantParam):
    type: Literal["function_call_output"]
    id: Id | None = None
    status: ItemStatus | None = None
    call_id: CallId
    output: InputContent

    def to_item(self, ids: IdSource) -> Item:
        return {
            "id": self.id or ids("fco"),
            "status": self.status or "completed",
            "type": "function_call_output",
            "call_id": self.call_id,
            "output": to_content(self.output),
        }


class ItemReference(TolerantParam):
    """Stands for a stored item; replaced by it before anything else happens."""

    type: Literal["item_reference"] | None = None
    id: Id


def _refuse_item(kind: str) -> str:
    raise refuse("unsupported_value", f"Input items of type {kind!r} are not supported.")


class OtherItem(TolerantParam):
    """Catches every item that is not supported, to name its type in the error."""

    type: Annotated[str, AfterValidator(_refuse_item)]


OTHER_CALLS = {
    "custom_tool_call",
    "custom_tool_call_output",
    "local_shell_call",
    "local_shell_call_output",
    "shell_call",
    "shell_call_output",
    "apply_patch_call",
    "apply_patch_call_output",
    "tool_search_call",
    "tool_search_output",
    "additional_tools",
}
HOSTED_CALLS = {
    "code_interpreter_call",
    "mcp_list_tools",
    "mcp_call",
    "mcp_approval_request",
    "mcp_approval_response",
}
ROLES = {"assistant": "#assistant", "system": "#system", "developer": "#system"}
KINDS = OTHER_CALLS | HOSTED_CALLS | {
    "reasoning", "agent_message", "function_call", "function_call_output", "item_reference",
}  # fmt: skip


def _tag(value: Any) -> str:
    """Messages come without a type, references with nothing but an id."""
    if not isinstance(value, dict):
        return "#message"  # says that an object was expected
    kind = value.get("type")
    if kind == "message" or (kind is None and "role" in value):
        return ROLES.get(str(value.get("role")), "#message")
    if kind is None:
        return "#item_reference" if "id" in value else "#message"
    return f"#{kind}" if isinstance(kind, str) and kind in KINDS else "#other"


InputItem: TypeAlias = Annotated[
    Annotated[InputMessage, Tag("#message")]
    | Annotated[SystemMessage, Tag("#system")]
    | Annotated[AssistantMessage, Tag("#assistant")]
    | Annotated[ReasoningParam, Tag("#reasoning")]
    | Annotated[AgentMessage, Tag("#agent_message")]
    | Annotated[FunctionCallParam, Tag("#function_call")]
    | Annotated[FunctionCallOutput, Tag("#function_call_output")]
    | Annotated[ItemReference, Tag("#item_reference")]
    | Annotated[calls.CustomToolCallParam, Tag("#custom_tool_call")]
    | Annotated[calls.CustomToolCallOutput, Tag("#custom_tool_call_output")]
    | Annotated[calls.LocalShellCallParam, Tag("#local_shell_call")]
    | Annotated[calls.LocalShellCallOutput, Tag("#local_shell_call_output")]
    | Annotated[calls.ShellCallParam, Tag("#shell_call")]
    | Annotated[calls.ShellCallOutput, Tag("#shell_call_output")]
    | Annotated[calls.ApplyPatchCallParam, Tag("#apply_patch_call")]
    | Annotated[calls.ApplyPatchCallOutput, Tag("#apply_patch_call_output")]
    | Annotated[calls.ToolSearchCallParam, Tag("#tool_search_call")]
    | Annotated[calls.ToolSearchOutput, Tag("#tool_search_output")]
    | Annotated[calls.AdditionalTools, Tag("#additional_tools")]
    | Annotated[hosted.CodeInterpreterCallParam, Tag("#code_interpreter_call")]
    | Annotated[hosted.McpListToolsParam, Tag("#mcp_list_tools")]
    | Annotated[hosted.McpCallParam, Tag("#mcp_call")]
    | Annotated[hosted.McpApprovalRequestParam, Tag("#mcp_approval_request")]
    | Annotated[hosted.McpApprovalResponse, Tag("#mcp_approval_response")]
    | SkipJsonSchema[Annotated[OtherItem, Tag("#other")]],
    Discriminator(_tag),
]

Input: TypeAlias = Annotated[
    Annotated[Text, Tag("#text")] | Annotated[list[InputItem], Tag("#list")],
    Discriminator(text_or_list),
]


def to_items(value: Input | None, ids: IdSource) -> list[Item | ItemReference]:
    """The items of a request's ``input``. A string is one message of the user."""
    if value is None:
        return []
    if isinstance(value, str):
        return [_message(ids("msg"), "user", value)]
    return [
        item if isinstance(item, ItemReference) else item.to_item(ids)
        for item in value
        if not isinstance(item, OtherItem)
    ]
