"""A call of the code interpreter: code that the gateway runs in a container."""

from __future__ import annotations

from collections.abc import Sequence
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
from apps.api.protocol.json_strings import TextArgument
from apps.api.protocol.results import INTERRUPTED, CallResult, code_outputs
from apps.api.protocol.types import JSONObject


class CodeInterpreterCall(OutputItem):
    """``outputs`` is what clients see: null unless they asked for it."""

    type: Literal["code_interpreter_call"] = "code_interpreter_call"
    code: str = ""
    container_id: str
    outputs: list[JSONObject] | None
    kept: list[JSONObject] | None = Field(default=None, exclude=True)

    def to_stored(self) -> bytes:
        return self.model_copy(update={"outputs": self.kept}).to_json()


class CodeInterpreterCallEvent(TypedEvent):
    type: Literal[
        "response.code_interpreter_call.in_progress",
        "response.code_interpreter_call.interpreting",
        "response.code_interpreter_call.completed",
    ]
    item_id: str
    output_index: int


class CodeDelta(TypedEvent):
    type: Literal["response.code_interpreter_call_code.delta"] = (
        "response.code_interpreter_call_code.delta"
    )
    item_id: str
    output_index: int
    delta: str


class CodeDone(TypedEvent):
    type: Literal["response.code_interpreter_call_code.done"] = (
        "response.code_interpreter_call_code.done"
    )
    item_id: str
    output_index: int
    code: str


class CodeInterpreterCallBuilder:
    """Shows the code while the model writes it, decoded from the JSON that it is written in.
    Some models write the code without any JSON: it is taken as it is."""

    def __init__(self, place: Place, *, container_id: str, with_outputs: bool) -> None:
        self._place, self._with_outputs = place, with_outputs
        self._item = CodeInterpreterCall(
            id=place.item_id,
            container_id=container_id,
            outputs=[] if with_outputs else None,
        )
        self._text = TextArgument("code")
        self._begun = False
        template = CodeDelta(**place._asdict(), delta="")
        self._type = template.type
        self._head, self._tail = hot_template(template)

    @property
    def waits(self) -> bool:
        return self._item.status == ItemStatus.IN_PROGRESS

    @property
    def arguments(self) -> str:
        """Code of which a part may be missing is not run: whoever parses this will say so."""
        if self._text.is_broken:
            return self._text.arguments
        return orjson.dumps({"code": self._item.code}).decode()

    def open(self) -> Sequence[ItemEvent]:
        added = OutputItemAdded(output_index=self._place.output_index, item=self._item.model_copy())
        return [added, self._event("in_progress")]

    def feed(self, delta: ToolCallArguments) -> Sequence[ItemEvent]:
        return self._show(self._text.feed(delta.arguments))

    def close(self, status: ItemStatus) -> Sequence[ItemEvent]:
        events = [*self._show(self._text.rest())]
        self._item.code = self._text.text
        events.append(CodeDone(**self._place._asdict(), code=self._item.code))
        return events if status is ItemStatus.COMPLETED else [*events, *self.abort()]

    def begin(self) -> Sequence[ItemEvent]:
        self._begun = True
        return [self._event("interpreting")]

    def end(self, result: CallResult) -> Sequence[ItemEvent]:
        failed = result.error is not None and result.error.kind != "tool_error"
        self._settle(ItemStatus.FAILED if failed else ItemStatus.COMPLETED, result)
        # The API has no event for a failed call: its item says it.
        return [self._done()] if failed else [self._event("completed"), self._done()]

    def abort(self) -> Sequence[ItemEvent]:
        self._settle(ItemStatus.INCOMPLETE, INTERRUPTED if self._begun else CallResult())
        return [self._done()]

    def snapshot(self) -> CodeInterpreterCall:
        return self._item

    def _settle(self, status: ItemStatus, result: CallResult) -> None:
        kept = code_outputs(result, stored=True)
        shown = code_outputs(result, stored=False) if self._with_outputs else None
        self._item = self._item.model_copy(
            update={"status": status.value, "kept": kept, "outputs": shown}
        )

    def _event(self, state: str) -> ItemEvent:
        kind: Any = f"response.code_interpreter_call.{state}"
        return CodeInterpreterCallEvent(type=kind, **self._place._asdict())

    def _done(self) -> ItemEvent:
        return OutputItemDone(output_index=self._place.output_index, item=self._item)

    def _show(self, text: str) -> Sequence[ItemEvent]:
        return (HotEvent(self._type, self._head, text, self._tail),) if text else ()
