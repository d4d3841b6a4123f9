"""What MCP servers offer, and calls of it that the gateway makes: listing, call, approval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import orjson
from pydantic import Field

from apps.api.protocol.deltas import ToolCallArguments
from apps.api.protocol.items.base import (
    HotEvent,
    ItemEvent,
    ItemStatus,
    OutputItem,
    OutputItemAdded,
    OutputItemDone,
    Place,
    TypedEvent,
    hot_template,
)
from apps.api.protocol.results import INTERRUPTED, CallResult, ResultImage, mcp_error, mcp_output
from apps.api.protocol.types import JSONObject

NO_STATUS = Field(default=ItemStatus.COMPLETED, exclude=True)
"""Items that are whole as soon as they are there have no status in the API."""


class McpListTools(OutputItem):
    """The tools that a server has. Their optional members are left out where there are none:
    typed clients do not take null."""

    type: Literal["mcp_list_tools"] = "mcp_list_tools"
    status: ItemStatus = NO_STATUS
    server_label: str
    tools: list[JSONObject]


class McpCall(OutputItem):
    type: Literal["mcp_call"] = "mcp_call"
    server_label: str
    name: str
    arguments: str = ""
    output: str | None = None
    error: JSONObject | None = None
    approval_request_id: str | None = None
    images: list[str] = Field(default_factory=list, exclude=True)

    def to_stored(self) -> bytes:
        """With the images, for which the API has no place."""
        if not self.images:
            return self.to_json()
        stored: JSONObject = self.model_dump() | {"images": self.images}
        return orjson.dumps(stored)


class McpApprovalRequest(OutputItem):
    type: Literal["mcp_approval_request"] = "mcp_approval_request"
    status: ItemStatus = NO_STATUS
    server_label: str
    name: str
    arguments: str


class McpListToolsEvent(TypedEvent):
    type: Literal["response.mcp_list_tools.in_progress", "response.mcp_list_tools.completed"]
    item_id: str
    output_index: int


class McpCallEvent(TypedEvent):
    type: Literal[
        "response.mcp_call.in_progress",
        "response.mcp_call.completed",
        "response.mcp_call.failed",
    ]
    item_id: str
    output_index: int


class McpCallArgumentsDelta(TypedEvent):
    type: Literal["response.mcp_call_arguments.delta"] = "response.mcp_call_arguments.delta"
    item_id: str
    output_index: int
    delta: str


class McpCallArgumentsDone(TypedEvent):
    type: Literal["response.mcp_call_arguments.done"] = "response.mcp_call_arguments.done"
    item_id: str
    output_index: int
    arguments: str


def list_tools(
    place: Place, label: str, tools: list[JSONObject]
) -> tuple[McpListTools, list[ItemEvent]]:
    """The item that lists a server's tools, and all its events."""
    item = McpListTools(id=place.item_id, server_label=label, tools=tools)
    where = place._asdict()
    added = item.model_copy(update={"tools": []})
    return item, [
        OutputItemAdded(output_index=place.output_index, item=added),
        McpListToolsEvent(type="response.mcp_list_tools.in_progress", **where),
        McpListToolsEvent(type="response.mcp_list_tools.completed", **where),
        OutputItemDone(output_index=place.output_index, item=item),
    ]


class McpCallBuilder:
    """Grows a call of a server's tool."""

    def __init__(
        self,
        place: Place,
        *,
        server_label: str,
        name: str,
        approval_request_id: str | None = None,
    ) -> None:
        self._place = place
        self._item = McpCall(
            id=place.item_id,
            server_label=server_label,
            name=name,
            approval_request_id=approval_request_id,
        )
        self._pieces: list[str] = []
        self._begun = False
        template = McpCallArgumentsDelta(**place._asdict(), delta="")
        self._type = template.type
        self._head, self._tail = hot_template(template)

    @property
    def waits(self) -> bool:
        return self._item.status == ItemStatus.IN_PROGRESS

    @property
    def arguments(self) -> str:
        return self._item.arguments

    def open(self) -> Sequence[ItemEvent]:
        added = OutputItemAdded(output_index=self._place.output_index, item=self._item.model_copy())
        return [added, self._event("in_progress")]

    def feed(self, delta: ToolCallArguments) -> Sequence[ItemEvent]:
        self._pieces.append(delta.arguments)
        return (HotEvent(self._type, self._head, delta.arguments, self._tail),)

    def close(self, status: ItemStatus) -> Sequence[ItemEvent]:
        events: list[ItemEvent] = []
        if status is ItemStatus.COMPLETED and not any(self._pieces):
            events += self.feed(ToolCallArguments(0, "{}"))
        arguments = "".join(self._pieces)
        self._item.arguments = arguments
        events.append(McpCallArgumentsDone(**self._place._asdict(), arguments=arguments))
        return events if status is ItemStatus.COMPLETED else [*events, *self.abort()]

    def begin(self) -> Sequence[ItemEvent]:
        self._begun = True
        return ()

    def end(self, result: CallResult) -> Sequence[ItemEvent]:
        error = mcp_error(result)
        status = ItemStatus.COMPLETED if error is None else ItemStatus.FAILED
        self._item = self._item.model_copy(
            update={
                "status": status.value,
                "output": mcp_output(result) if error is None else None,
                "error": error,
                "images": [part.url for part in result.parts if isinstance(part, ResultImage)],
            }
        )
        return [self._event(status.value), self._done()]

    def abort(self) -> Sequence[ItemEvent]:
        error = mcp_error(INTERRUPTED) if self._begun else None
        ended = {"status": ItemStatus.INCOMPLETE.value, "error": error}
        self._item = self._item.model_copy(update=ended)
        return [self._done()]

    def snapshot(self) -> OutputItem:
        return self._item

    def _event(self, state: str) -> ItemEvent:
        kind: Any = f"response.mcp_call.{state}"
        return McpCallEvent(type=kind, **self._place._asdict())

    def _done(self) -> ItemEvent:
        return OutputItemDone(output_index=self._place.output_index, item=self._item)


class GuardedCallBuilder:
    """Collects a call that needs approval: it becomes a request for it.

    A call that is not whole, or whose arguments are no object, is nothing to approve: it becomes
    a call, which will be told to have failed.
    """

    def __init__(
        self,
        place: Place,
        *,
        server_label: str,
        name: str,
        request_id: Callable[[str], str],
    ) -> None:
        self._place, self._request_id = place, request_id
        self._label, self._name = server_label, name
        self._pieces: list[str] = []
        self._call: McpCallBuilder | None = None
        self._request: McpApprovalRequest | None = None

    @property
    def waits(self) -> bool:
        return self._call is not None and self._call.waits

    @property
    def arguments(self) -> str:
        return "".join(self._pieces)

    def open(self) -> Sequence[ItemEvent]:
        return ()

    def feed(self, delta: ToolCallArguments) -> Sequence[ItemEvent]:
        self._pieces.append(delta.arguments)
        return ()

    def close(self, status: ItemStatus) -> Sequence[ItemEvent]:
        arguments = self.arguments.strip() or "{}"
        if status is not ItemStatus.COMPLETED or not _is_object(arguments):
            return self._close_broken(status)
        self._request = McpApprovalRequest(
            id=self._request_id(arguments),
            server_label=self._label,
            name=self._name,
            arguments=arguments,
        )
        index = self._place.output_index
        return [
            OutputItemAdded(output_index=index, item=self._request),
            OutputItemDone(output_index=index, item=self._request),
        ]

    def begin(self) -> Sequence[ItemEvent]:
        return self._broken.begin()

    def end(self, result: CallResult) -> Sequence[ItemEvent]:
        return self._broken.end(result)

    def abort(self) -> Sequence[ItemEvent]:
        return self._broken.abort()

    def snapshot(self) -> OutputItem:
        return self._request or self._broken.snapshot()

    @property
    def _broken(self) -> McpCallBuilder:
        assert self._call is not None, "a request is not run"
        return self._call

    def _close_broken(self, status: ItemStatus) -> Sequence[ItemEvent]:
        self._call = McpCallBuilder(self._place, server_label=self._label, name=self._name)
        return [
            *self._call.open(),
            *(self._call.feed(ToolCallArguments(0, piece))[0] for piece in self._pieces if piece),
            *self._call.close(status),
        ]


def _is_object(arguments: str) -> bool:
    try:
        return isinstance(orjson.loads(arguments), dict)
    except orjson.JSONDecodeError:
        return False
