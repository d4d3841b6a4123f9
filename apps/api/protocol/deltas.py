"""What goes into the composer: increments of a run, free of upstream dialect and wire format.

Named tuples, since one is made for each token: a frozen dataclass costs three times as much.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, TypeAlias

from apps.api.protocol.results import CallResult
from apps.api.protocol.types import JSONObject


class Finish(StrEnum):
    """Why a turn ended."""

    STOP = "stop"  #: the model had said all; also after calls
    LENGTH = "length"  #: a token limit cut it
    CONTENT_FILTER = "content_filter"


class TurnUsage(NamedTuple):
    """Tokens of one turn."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0


class TextDelta(NamedTuple):
    """The answer grew. ``logprobs`` has an entry for each token, when they were asked for."""

    text: str
    logprobs: list[JSONObject] | None = None


class ReasoningDelta(NamedTuple):
    """The reasoning grew."""

    text: str


class RefusalDelta(NamedTuple):
    """The model's refusal grew."""

    text: str


class ToolCallStart(NamedTuple):
    """The model began to call a function. ``call`` counts the calls of its turn."""

    call: int
    name: str


class ToolCallArguments(NamedTuple):
    """The JSON text of a call's arguments grew."""

    call: int
    arguments: str


class TurnEnd(NamedTuple):
    """The turn is complete: nothing of it follows."""

    finish: Finish
    usage: TurnUsage | None


class ToolsListed(NamedTuple):
    """A server told its tools: name, description, input_schema and annotations of each."""

    label: str
    tools: list[JSONObject]


class CallResumed(NamedTuple):
    """A call of an earlier response that may run now. ``name`` is the model's for the function,
    ``arguments`` JSON text."""

    name: str
    arguments: str
    approval_request_id: str


class CallBegan(NamedTuple):
    """The gateway runs a call; ``item_id`` is its item's."""

    item_id: str


class CallEnded(NamedTuple):
    """A call that the gateway ran is over."""

    item_id: str
    result: CallResult


Delta: TypeAlias = (
    TextDelta
    | ReasoningDelta
    | RefusalDelta
    | ToolCallStart
    | ToolCallArguments
    | TurnEnd
    | ToolsListed
    | CallResumed
    | CallBegan
    | CallEnded
)
