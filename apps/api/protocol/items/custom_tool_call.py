"""A call of a custom tool: its input is a text, which the model wrote as a JSON string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

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
from apps.api.protocol.items.function_call import Namespace
from apps.api.protocol.json_strings import TextArgument


class CustomToolCall(OutputItem):
    type: Literal["custom_tool_call"] = "custom_tool_call"
    call_id: str
    input: str = ""
    name: str
    namespace: Namespace = None


class CustomToolCallInputDelta(TypedEvent):
    type: Literal["response.custom_tool_call_input.delta"] = "response.custom_tool_call_input.delta"
    item_id: str
    output_index: int
    delta: str


class CustomToolCallInputDone(TypedEvent):
    type: Literal["response.custom_tool_call_input.done"] = "response.custom_tool_call_input.done"
    item_id: str
    output_index: int
    input: str


class CustomToolCallBuilder:
    """Grows a custom call. The text is decoded while it comes; arguments that are not the one
    string that was asked for become the input as they are.

    An input that was cut off is never announced as done: unlike the JSON of other calls, half of
    it looks whole, and clients run a call as soon as it is done, whatever its status.
    """

    def __init__(self, place: Place, *, call_id: str, name: str, namespace: str | None) -> None:
        self._place = place
        self._item = CustomToolCall(
            id=place.item_id, call_id=call_id, name=name, namespace=namespace
        )
        self._text = TextArgument("input")
        template = CustomToolCallInputDelta(**place._asdict(), delta="")
        self._type = template.type
        self._head, self._tail = hot_template(template)

    def open(self) -> Sequence[ItemEvent]:
        added = self._item.model_copy()
        return [OutputItemAdded(output_index=self._place.output_index, item=added)]

    def feed(self, delta: ToolCallArguments) -> Sequence[ItemEvent]:
        return self._show(self._text.feed(delta.arguments))

    def close(self, status: ItemStatus) -> Sequence[ItemEvent]:
        events = list(self._show(self._text.rest()))
        text = self._text.text
        self._item = self._item.model_copy(update={"input": text, "status": status})
        if status is ItemStatus.INCOMPLETE and not self._text.ended:
            return events
        return [
            *events,
            CustomToolCallInputDone(**self._place._asdict(), input=text),
            OutputItemDone(output_index=self._place.output_index, item=self._item),
        ]

    def snapshot(self) -> CustomToolCall:
        return self._item

    def _show(self, text: str) -> Sequence[ItemEvent]:
        return (HotEvent(self._type, self._head, text, self._tail),) if text else ()
