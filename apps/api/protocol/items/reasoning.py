"""What the model thought before it answered, as raw reasoning text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from apps.api.protocol.deltas import ReasoningDelta
from apps.api.protocol.items.base import (
    ContentPartAdded,
    ContentPartDone,
    ContentPartEvent,
    HotEvent,
    ItemEvent,
    ItemStatus,
    OutputItem,
    OutputItemAdded,
    OutputItemDone,
    Part,
    Place,
    hot_template,
)


class ReasoningText(Part):
    type: Literal["reasoning_text"] = "reasoning_text"
    text: str = ""


class Reasoning(OutputItem):
    type: Literal["reasoning"] = "reasoning"
    summary: list[Any] = Field(default_factory=list)
    content: list[ReasoningText] = Field(default_factory=list)
    encrypted_content: Annotated[str | None, Field(exclude_if=lambda value: value is None)] = None


class ReasoningTextDelta(ContentPartEvent):
    type: Literal["response.reasoning_text.delta"] = "response.reasoning_text.delta"
    delta: str


class ReasoningTextDone(ContentPartEvent):
    type: Literal["response.reasoning_text.done"] = "response.reasoning_text.done"
    text: str


class ReasoningBuilder:
    """Grows a reasoning item: one part of reasoning text. ``seal`` encrypts it for clients that
    keep it themselves."""

    def __init__(self, place: Place, *, seal: Callable[[str], str] | None = None) -> None:
        self._seal = seal
        self._place, self._where = place, place.part(0)
        self._item = Reasoning(id=place.item_id)
        self._pieces: list[str] = []
        template = ReasoningTextDelta(**self._where, delta="")
        self._type = template.type
        self._head, self._tail = hot_template(template)

    def open(self) -> Sequence[ItemEvent]:
        added = self._item.model_copy()
        return [
            OutputItemAdded(output_index=self._place.output_index, item=added),
            ContentPartAdded(**self._where, part=ReasoningText()),
        ]

    def feed(self, delta: ReasoningDelta) -> Sequence[ItemEvent]:
        self._pieces.append(delta.text)
        return (HotEvent(self._type, self._head, delta.text, self._tail),)

    def close(self, status: ItemStatus) -> Sequence[ItemEvent]:
        part = ReasoningText(text="".join(self._pieces))
        sealed = self._seal(part.text) if self._seal else None
        self._item = self._item.model_copy(
            update={"content": [part], "status": status, "encrypted_content": sealed}
        )
        return [
            ReasoningTextDone(**self._where, text=part.text),
            ContentPartDone(**self._where, part=part),
            OutputItemDone(output_index=self._place.output_index, item=self._item),
        ]

    def snapshot(self) -> Reasoning:
        return self._item
