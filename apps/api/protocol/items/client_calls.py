"""Calls of the client's own tools whose arguments are an object: shells, patches, tool search.

Nothing can be shown before the arguments are whole. What the model wrote is checked then; a call
that does not fit its tool becomes a function call that was not completed, which no client runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from apps.api.protocol.deltas import ToolCallArguments
from apps.api.protocol.items.base import (
    ItemEvent,
    ItemStatus,
    OutputItem,
    OutputItemAdded,
    OutputItemDone,
    Place,
)
from apps.api.protocol.items.function_call import FunctionCallBuilder
from apps.api.protocol.types import JSONObject


class Arguments(BaseModel):
    """Base of what the model has to write. Members that nobody asked for are dropped."""

    model_config = ConfigDict(extra="ignore")


class LocalShellAction(Arguments):
    type: Literal["exec"] = "exec"
    command: list[str]
    env: dict[str, str] = Field(default_factory=dict)
    timeout_ms: int | None = None
    user: str | None = None
    working_directory: str | None = None


class LocalShellCall(OutputItem):
    type: Literal["local_shell_call"] = "local_shell_call"
    call_id: str
    action: LocalShellAction


class ShellAction(Arguments):
    commands: list[str]
    timeout_ms: int | None = None
    max_output_length: int | None = None


class ShellCall(OutputItem):
    type: Literal["shell_call"] = "shell_call"
    call_id: str
    action: ShellAction
    environment: JSONObject | None = None


class WriteFile(Arguments):
    type: Literal["create_file", "update_file"]
    path: str
    diff: str


class DeleteFile(Arguments):
    type: Literal["delete_file"]
    path: str


class Patch(Arguments):
    operation: Annotated[WriteFile | DeleteFile, Field(discriminator="type")]


class ApplyPatchCall(OutputItem):
    type: Literal["apply_patch_call"] = "apply_patch_call"
    call_id: str
    operation: WriteFile | DeleteFile


class ToolSearchCall(OutputItem):
    type: Literal["tool_search_call"] = "tool_search_call"
    call_id: str
    execution: Literal["client"] = "client"
    arguments: JSONObject


ClientCallKind: TypeAlias = Literal["local_shell", "shell", "apply_patch", "tool_search"]

PREFIXES: dict[str, str] = {
    "local_shell": "lsh",
    "shell": "sh",
    "apply_patch": "apc",
    "tool_search": "tsc",
}


def _item(kind: ClientCallKind, place: Place, call_id: str, written: Any) -> OutputItem:
    """The item for what the model wrote. Raises ValidationError."""
    common: dict[str, Any] = {"id": place.item_id, "call_id": call_id}
    match kind:
        case "local_shell":
            return LocalShellCall(**common, action=LocalShellAction.model_validate(written))
        case "shell":
            return ShellCall(**common, action=ShellAction.model_validate(written))
        case "apply_patch":
            return ApplyPatchCall(
                **common, operation=Patch.model_validate({"operation": written}).operation
            )
        case "tool_search":
            return ToolSearchCall(**common, arguments=written)


class ClientCallBuilder:
    """Collects the arguments of one call; all its events come at the end."""

    def __init__(self, place: Place, kind: ClientCallKind, *, call_id: str) -> None:
        self._place, self._kind, self._call_id = place, kind, call_id
        self._pieces: list[str] = []
        self._item: OutputItem | None = None

    def open(self) -> Sequence[ItemEvent]:
        return ()

    def feed(self, delta: ToolCallArguments) -> Sequence[ItemEvent]:
        self._pieces.append(delta.arguments)
        return ()

    def close(self, status: ItemStatus) -> Sequence[ItemEvent]:
        arguments = "".join(self._pieces)
        try:
            item = _item(self._kind, self._place, self._call_id, orjson.loads(arguments or "{}"))
        except (orjson.JSONDecodeError, ValidationError):
            return self._close_broken(arguments)
        self._item = item.model_copy(update={"status": status.value})
        index = self._place.output_index
        return [
            OutputItemAdded(output_index=index, item=item),
            OutputItemDone(output_index=index, item=self._item),
        ]

    def snapshot(self) -> OutputItem:
        assert self._item is not None, "close() comes first"
        return self._item

    def _close_broken(self, arguments: str) -> Sequence[ItemEvent]:
        call = FunctionCallBuilder(self._place, call_id=self._call_id, name=self._kind)
        events = [
            *call.open(),
            *(call.feed(ToolCallArguments(0, arguments)) if arguments else ()),
            *call.close(ItemStatus.INCOMPLETE),
        ]
        self._item = call.snapshot()
        return events
