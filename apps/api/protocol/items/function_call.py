"""A call of a function that the client declared and will execute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, TypeAlias

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

Namespace: TypeAlias = Annotated[str | None, Field(exclude_if=lambda value: value is None)]
"""The group of the tool; absent for tools of no group."""


class FunctionCall(OutputItem):
    type: Literal["function_call"] = "function_call"
    arguments: str = ""
    call_id: str
    name: str
    namespace: Namespace = None


class FunctionCallArgumentsDelta(TypedEvent):
    type: Literal["response.function_call_arguments.delta"] = (
        "response.function_call_arguments.delta"
    )
    item_id: str
    output_index: int
    delta: str


class FunctionCallArgumentsDone(TypedEvent):
    type: Literal["response.function_call_arguments.done"] = "response.function_call_arguments.done"
    item_id: str
    output_index: int
    name: str
    arguments: str


class FunctionCallBuilder:
    """Grows a function call: name and call id are known at once, the arguments grow."""

    def __init__(
        self, place: Place, *, call_id: str, name: str, namespace: str | None = None
    ) -> None:
        self._place = place
        self._item = FunctionCall(id=place.item_id, call_id=call_id, name=name, namespace=namespace)
        self._pieces: list[str] = []
        template = FunctionCallArgumentsDelta(**place._asdict(), delta="")
        self._type = template.type
        self._head, self._tail = hot_template(template)

    def open(self) -> Sequence[ItemEvent]:
        added = self._item.model_copy()
        return [OutputItemAdded(output_index=self._place.output_index, item=added)]

    def feed(self, delta: ToolCallArguments) -> Sequence[ItemEvent]:
        self._pieces.append(delta.arguments)
        return (HotEvent(self._type, self._head, delta.arguments, self._tail),)

    def close(self, status: ItemStatus) -> Sequence[ItemEvent]:
        events: list[ItemEvent] = []
        if status is ItemStatus.COMPLETED and not any(self._pieces):
            # Some parsers send nothing for a call without arguments; clients parse what they get.
            events += self.feed(ToolCallArguments(0, "{}"))
        arguments = "".join(self._pieces)
        self._item = self._item.model_copy(update={"arguments": arguments, "status": status})
        return [
            *events,
            FunctionCallArgumentsDone(
                **self._place._asdict(), name=self._item.name, arguments=arguments
            ),
            OutputItemDone(output_index=self._place.output_index, item=self._item),
        ]

    def snapshot(self) -> FunctionCall:
        return self._item
