"""What a kind of output item must provide, and the events that all kinds share.

Builders are told what happened and answer with events that have no number yet: the composer
alone numbers them.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from pydantic import BaseModel, ConfigDict, SerializeAsAny

from apps.api.protocol.results import CallResult


class ItemStatus(StrEnum):
    """State of an item; all but the first are final."""

    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"


class OutputItem(BaseModel):
    """Base of what the model or the gateway produced."""

    model_config = ConfigDict(use_enum_values=True)

    id: str
    status: ItemStatus = ItemStatus.IN_PROGRESS
    type: str

    def to_json(self) -> bytes:
        """The item as clients see it."""
        return type(self).__pydantic_serializer__.to_json(self)

    def to_stored(self) -> bytes:
        """The item as it is kept: with all that the model was told, whatever clients see."""
        return self.to_json()


class Part(BaseModel):
    """Base of content parts."""


class TypedEvent(BaseModel):
    """Base of the wire events; the number is stamped by the composer."""

    type: str
    sequence_number: int = -1


class OutputItemAdded(TypedEvent):
    type: Literal["response.output_item.added"] = "response.output_item.added"
    output_index: int
    item: SerializeAsAny[OutputItem]


class OutputItemDone(TypedEvent):
    type: Literal["response.output_item.done"] = "response.output_item.done"
    output_index: int
    item: SerializeAsAny[OutputItem]


class ContentPartEvent(TypedEvent):
    """Base of all events about one part of one item."""

    item_id: str
    output_index: int
    content_index: int


class ContentPartAdded(ContentPartEvent):
    type: Literal["response.content_part.added"] = "response.content_part.added"
    part: SerializeAsAny[Part]


class ContentPartDone(ContentPartEvent):
    type: Literal["response.content_part.done"] = "response.content_part.done"
    part: SerializeAsAny[Part]


class HotEvent(NamedTuple):
    """An event that comes once per token: JSON text around the one string that changes.

    ``head`` ends where the delta's string begins, ``tail`` ends where the number begins.
    """

    type: str
    head: bytes
    delta: str
    tail: bytes


ItemEvent: TypeAlias = TypedEvent | HotEvent

NUMBER = b',"sequence_number":'


def hot_template(event: TypedEvent, **rest: Any) -> tuple[bytes, bytes]:
    """Head and tail of the JSON of ``event``, whose last field ``delta`` is empty.

    ``rest`` are the members between the delta and the number.
    """
    fields = type(event).__pydantic_serializer__.to_json(
        event, exclude={"sequence_number", "delta", *rest}
    )
    between = b"".join(b',"%b":%b' % (name.encode(), value) for name, value in rest.items())
    return fields[:-1] + b',"delta":', between + NUMBER


class ItemBuilder(Protocol):
    """Grows one output item. Call ``open``, then ``feed`` as often as needed, then ``close``."""

    def open(self) -> Sequence[ItemEvent]: ...

    def feed(self, delta: Any) -> Sequence[ItemEvent]: ...

    def close(self, status: ItemStatus) -> Sequence[ItemEvent]: ...

    def snapshot(self) -> OutputItem: ...


class HostedCallBuilder(ItemBuilder, Protocol):
    """Grows a call that the gateway runs. After ``close(COMPLETED)`` the call is written and
    waits; ``begin`` and ``end`` tell of its run, ``abort`` that it will not come to an end."""

    @property
    def waits(self) -> bool:
        """Whether the call is still to be run."""

    @property
    def arguments(self) -> str:
        """What the model wrote."""

    def begin(self) -> Sequence[ItemEvent]: ...

    def end(self, result: CallResult) -> Sequence[ItemEvent]: ...

    def abort(self) -> Sequence[ItemEvent]: ...


class Place(NamedTuple):
    """Where an item stands: its id and its index in the output."""

    item_id: str
    output_index: int

    def part(self, content_index: int) -> dict[str, Any]:
        """The fields of an event about one part of the item."""
        return {
            "item_id": self.item_id,
            "output_index": self.output_index,
            "content_index": content_index,
        }
