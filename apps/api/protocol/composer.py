"""Turns deltas into the events of one response. A state machine without I/O or clock.

Its rules: every event passes ``_stamp``, which numbers it. Output indexes grow by one per item.
One item is open at a time, and what was opened is closed before the response ends, on success and
on failure alike. The response's end is first settled (``finish``), then stored by the caller,
then announced (``announce``); after that nothing may happen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

import orjson

from apps.api.protocol.deltas import (
    Delta,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    TurnEnd,
    TurnUsage,
)
from apps.api.protocol.events import CREATED, IN_PROGRESS, TERMINAL, ErrorDetail, ErrorEvent, Event
from apps.api.protocol.ids import IdSource
from apps.api.protocol.items.base import (
    HotEvent,
    ItemBuilder,
    ItemEvent,
    ItemStatus,
    OutputItem,
    Place,
)
from apps.api.protocol.items.client_calls import PREFIXES, ClientCallBuilder
from apps.api.protocol.items.custom_tool_call import CustomToolCallBuilder
from apps.api.protocol.items.function_call import FunctionCallBuilder
from apps.api.protocol.items.message import MessageBuilder
from apps.api.protocol.items.reasoning import ReasoningBuilder
from apps.api.protocol.offers import Offer, Offers
from apps.api.protocol.response import (
    IncompleteDetails,
    InputTokensDetails,
    OutputTokensDetails,
    Response,
    ResponseError,
    Status,
    Usage,
    splice,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a response ends. ``at`` is Unix time; ``error`` belongs to FAILED, ``reason`` to
    INCOMPLETE."""

    status: Status
    at: int
    error: ErrorDetail | None = None
    reason: IncompleteDetails | None = None


class ResponseComposer:
    """Grows one response.

    ``ids`` makes item and call ids from their prefix; ``offers`` tells what the calls of the model
    are for the client; ``seal`` encrypts reasoning, when the client wants it.
    """

    def __init__(
        self,
        response: Response,
        *,
        ids: IdSource,
        offers: Offers | None = None,
        seal: Callable[[str], str] | None = None,
    ) -> None:
        self._seal = seal
        self.response = response
        self._ids = ids
        self._offers = offers or Offers(())
        self._dropped: int | None = None
        self._next_number = 0
        self._done: list[OutputItem] = []
        self._open: ItemBuilder | None = None
        self._open_key: object = None
        self._usage: TurnUsage | None = None
        self._answered = False  # the current turn has a message or a call
        self._ended: list[Event] | None = None
        self._outcome: Outcome | None = None

    # --- What happens -------------------------------------------------------------------------

    def start(self) -> list[Event]:
        """``response.created`` and ``response.in_progress``."""
        if self._next_number:
            raise AssertionError("the response has begun")
        snapshot = splice(self.response.to_body(), ())
        return [self._lifecycle(CREATED, snapshot), self._lifecycle(IN_PROGRESS, snapshot)]

    def feed(self, deltas: Iterable[Delta]) -> list[Event]:
        """The events of one read's deltas."""
        if self._outcome is not None or not self._next_number:
            raise AssertionError("deltas come after start() and before finish()")
        events: list[Event] = []
        stamp = self._stamp
        for delta in deltas:
            kind = type(delta)
            if kind is TextDelta or kind is RefusalDelta:
                builder = self._continue("message", events)
            elif kind is ReasoningDelta:
                builder = self._continue("reasoning", events)
            elif isinstance(delta, ToolCallArguments):
                if delta.call == self._dropped:
                    continue
                builder = self._call(delta.call)
            elif isinstance(delta, ToolCallStart):
                self._start_call(delta, events)
                continue
            elif isinstance(delta, TurnEnd):
                self._end_turn(delta, events)
                continue
            else:
                assert_never(delta)  # type: ignore[arg-type] # narrowed by identity above
            events += map(stamp, builder.feed(delta))
        return events

    def finish(self, outcome: Outcome) -> list[Event]:
        """Close what is open and settle the end. May be called again until it is announced: a
        response that could not be stored did fail after all."""
        if self._ended is not None:
            raise AssertionError("the end has been announced")
        events: list[Event] = []
        completed = outcome.status is Status.COMPLETED
        self._close(ItemStatus.COMPLETED if completed else ItemStatus.INCOMPLETE, events)
        self._outcome = outcome
        return events

    def announce(self) -> list[Event]:
        """The terminal event, after ``error`` when the response failed. None tells of a cancelled
        response."""
        outcome = self._outcome
        if outcome is None or outcome.status not in TERMINAL or self._ended is not None:
            raise AssertionError("announce() comes once, after finish() with a status to announce")
        self.response, self._ended = self._settled(), []
        if outcome.error is not None:
            self._ended.append(self._error(outcome.error))
        self._ended.append(self._lifecycle(TERMINAL[outcome.status], self.to_json()))
        return self._ended

    # --- What has come of it ------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether the end has been announced."""
        return self._ended is not None

    @property
    def output(self) -> Sequence[OutputItem]:
        """The closed items, in order."""
        return self._done

    @property
    def calls(self) -> Sequence[OutputItem]:
        """The complete calls, of whichever kind of tool."""
        return [
            item
            for item in self._done
            if hasattr(item, "call_id") and item.status == ItemStatus.COMPLETED
        ]

    @property
    def usage(self) -> TurnUsage | None:
        """Tokens of all turns that ended; None before the first."""
        return self._usage

    def body(self) -> bytes:
        """The resource without its output, as it is or, once settled, as it will be announced."""
        settled = self._outcome is not None and self._ended is None
        return (self._settled() if settled else self.response).to_body()

    def to_json(self) -> bytes:
        """The whole resource."""
        return splice(self.body(), [item.to_json() for item in self._done])

    # --- Items --------------------------------------------------------------------------------

    def _continue(self, kind: str, events: list[Event]) -> ItemBuilder:
        """The builder of the open item of this kind; a new one when there is none."""
        if self._open is not None and self._open_key == kind:
            return self._open
        self._close(ItemStatus.COMPLETED, events)
        if kind == "message":
            self._answered = True
            return self._begin(kind, MessageBuilder(self._place("msg")), events)
        return self._begin(kind, ReasoningBuilder(self._place("rs"), seal=self._seal), events)

    def _start_call(self, start: ToolCallStart, events: list[Event]) -> None:
        """Open the item that the tool's calls are. Calls that the client's choice of tools
        forbids are dropped: not every model keeps to it."""
        self._close(ItemStatus.COMPLETED, events)
        offer = self._offers.meant(start.name)
        permitted = self._offers.permits(offer)
        self._dropped = None if permitted else start.call
        if not permitted:
            return
        self._answered = True
        self._begin(start.call, self._call_builder(offer, start.name), events)

    def _call_builder(self, offer: Offer | None, name: str) -> ItemBuilder:
        """A name that was never offered is passed on: the client will know what to say."""
        call_id = self._ids("call")
        if offer is None:
            return FunctionCallBuilder(self._place("fc"), call_id=call_id, name=name)
        match offer.kind:
            case "function":
                return FunctionCallBuilder(
                    self._place("fc"),
                    call_id=call_id,
                    name=offer.tool,
                    namespace=offer.namespace,
                )
            case "custom":
                return CustomToolCallBuilder(
                    self._place("ctc"),
                    call_id=call_id,
                    name=offer.tool,
                    namespace=offer.namespace,
                )
            case "local_shell" | "shell" | "apply_patch" | "tool_search":
                place = self._place(PREFIXES[offer.kind])
                return ClientCallBuilder(place, offer.kind, call_id=call_id)

    def _call(self, call: int) -> ItemBuilder:
        if self._open is None or self._open_key != call:
            raise AssertionError(f"arguments for call {call}, which is not open")
        return self._open

    def _end_turn(self, end: TurnEnd, events: list[Event]) -> None:
        """Close what is open. An answer of nothing is a message of nothing: clients expect one."""
        if end.finish is Finish.STOP and not self._answered:
            self._continue("message", events)
        complete = end.finish is Finish.STOP
        self._close(ItemStatus.COMPLETED if complete else ItemStatus.INCOMPLETE, events)
        self._answered = False
        if end.usage is not None:
            before = self._usage or TurnUsage()
            self._usage = TurnUsage(*map(sum, zip(before, end.usage, strict=True)))

    def _place(self, prefix: str) -> Place:
        return Place(self._ids(prefix), len(self._done))

    def _begin(self, key: object, builder: ItemBuilder, events: list[Event]) -> ItemBuilder:
        self._open, self._open_key = builder, key
        events += map(self._stamp, builder.open())
        return builder

    def _close(self, status: ItemStatus, events: list[Event]) -> None:
        if self._open is not None:
            builder, self._open, self._open_key = self._open, None, None
            events += map(self._stamp, builder.close(status))
            self._done.append(builder.snapshot())

    # --- Events -------------------------------------------------------------------------------

    def _stamp(self, event: ItemEvent) -> Event:
        """Number one item event; the only other events are those of ``_number``'s two callers."""
        number = self._number()
        if type(event) is HotEvent:
            json = b"%b%b%b%d}" % (event.head, orjson.dumps(event.delta), event.tail, number)
            return Event(event.type, number, json)
        assert not isinstance(event, HotEvent)
        event.sequence_number = number
        return Event(event.type, number, type(event).__pydantic_serializer__.to_json(event))

    def _lifecycle(self, kind: str, response: bytes) -> Event:
        number = self._number()
        json = b'{"type":"%b","response":%b,"sequence_number":%d}'
        return Event(kind, number, json % (kind.encode(), response, number))

    def _error(self, error: ErrorDetail) -> Event:
        number = self._number()
        event = ErrorEvent(
            sequence_number=number,
            error=error,
            code=error.code,
            message=error.message,
            param=error.param,
        )
        return Event("error", number, event.model_dump_json().encode())

    def _number(self) -> int:
        number = self._next_number
        self._next_number = number + 1
        return number

    def _settled(self) -> Response:
        """The response as the outcome makes it."""
        outcome = self._outcome
        assert outcome is not None
        response = self.response.model_copy()
        response.move(outcome.status)
        response.incomplete_details = outcome.reason
        if outcome.status is Status.COMPLETED:
            response.completed_at = outcome.at
        if outcome.error is not None:
            code = outcome.error.code or "server_error"
            response.error = ResponseError(code=code, message=outcome.error.message)
        if self._usage is not None:
            usage = self._usage
            response.usage = Usage(
                input_tokens=usage.input_tokens,
                input_tokens_details=InputTokensDetails(cached_tokens=usage.cached_tokens),
                output_tokens=usage.output_tokens,
                output_tokens_details=OutputTokensDetails(reasoning_tokens=usage.reasoning_tokens),
                total_tokens=usage.input_tokens + usage.output_tokens,
            )
        return response
