"""Turns deltas into the events of one response. A state machine without I/O or clock.

Its rules: every event passes ``_stamp``, which numbers it. Output indexes grow by one per item.
The model writes one item at a time; calls that the gateway runs stay open until their end is told.
What was opened is closed before the response ends, on success and on failure alike. The
response's end is first settled (``finish``), then stored by the caller, then announced
(``announce``); after that nothing may happen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, assert_never, cast

import orjson

from apps.api.protocol.call_builders import call_builder
from apps.api.protocol.deltas import (
    CallBegan,
    CallEnded,
    CallResumed,
    Delta,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    ToolsListed,
    TurnEnd,
    TurnUsage,
)
from apps.api.protocol.events import CREATED, IN_PROGRESS, TERMINAL, ErrorDetail, ErrorEvent, Event
from apps.api.protocol.ids import IdSource
from apps.api.protocol.items.base import (
    HostedCallBuilder,
    HotEvent,
    ItemBuilder,
    ItemEvent,
    ItemStatus,
    OutputItem,
    Place,
)
from apps.api.protocol.items.mcp import McpCallBuilder, list_tools
from apps.api.protocol.items.message import MessageBuilder
from apps.api.protocol.items.reasoning import ReasoningBuilder
from apps.api.protocol.offers import NO_OFFERS, Offer, Offers
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
from apps.api.protocol.results import CitableFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a response ends. ``at`` is Unix time; ``error`` belongs to FAILED, ``reason`` to
    INCOMPLETE."""

    status: Status
    at: int
    error: ErrorDetail | None = None
    reason: IncompleteDetails | None = None


class WaitingCall(NamedTuple):
    """A call that the gateway is to run. ``arguments`` is what the model wrote."""

    item_id: str
    offer: Offer
    arguments: str
    approval_request_id: str | None


class _Waiting(NamedTuple):
    """A call that is written and not over yet, and its place in the output."""

    builder: HostedCallBuilder
    offer: Offer
    slot: int
    approval_request_id: str | None


class ResponseComposer:
    """Grows one response.

    ``ids`` makes item and call ids from their prefix; ``offers`` tells what the calls of the model
    are for the client; ``seal`` encrypts reasoning, when the client wants it, ``code_outputs``
    shows what code printed. ``files`` are those that answers may link. Events that are not ``told``
    to anybody have no JSON.
    """

    def __init__(
        self,
        response: Response,
        *,
        ids: IdSource,
        offers: Offers = NO_OFFERS,
        seal: Callable[[str], str] | None = None,
        code_outputs: bool = False,
        files: Iterable[CitableFile] = (),
        told: bool = True,
    ) -> None:
        self._told = told
        self._seal = seal
        self._code_outputs = code_outputs
        self._files = {file.path: file for file in files}
        self.response = response
        self._ids = ids
        self._offers = offers
        self._dropped: int | None = None
        self._next_number = 0
        self._slots: list[OutputItem | None] = []  # None: not closed yet
        self._open: ItemBuilder | None = None
        self._open_key: object = None
        self._open_offer: Offer | None = None
        self._waiting: dict[str, _Waiting] = {}
        self._usage: TurnUsage | None = None
        self._answered = False  # the current turn has a message or a call
        self._runs_on = False  # the current turn has calls whose ends the model is waiting for
        self._asks = False  # the current turn has something for the client to do
        self._our_calls = 0
        self.has_acted = False
        """Whether the gateway has begun to run a call: the request is not to be made again."""
        self._ended: list[Event] | None = None
        self._outcome: Outcome | None = None
        self._final: Response | None = None  # as the outcome makes it
        self._final_body = b""
        self._final_json = b""

    # --- What happens -------------------------------------------------------------------------

    def start(self) -> list[Event]:
        """``response.created`` and ``response.in_progress``."""
        if self._next_number:
            raise AssertionError("the response has begun")
        snapshot = splice(self.response.to_body(), ()) if self._told else b""
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
            elif isinstance(delta, CallBegan | CallEnded):
                self._carry_on(delta, events)
                continue
            elif isinstance(delta, ToolsListed):
                self._list_tools(delta, events)
                continue
            elif isinstance(delta, CallResumed):
                self._resume_call(delta, events)
                continue
            else:
                assert_never(delta)  # type: ignore[arg-type] # narrowed by identity above
            events += map(stamp, builder.feed(delta))
        return events

    def next_turn(self, offers: Offers) -> None:
        """The model is asked again, with these tools."""
        self._offers = offers
        self._runs_on = self._asks = False

    def finish(self, outcome: Outcome) -> list[Event]:
        """Close what is open and settle the end. May be called again until it is announced: a
        response that could not be stored did fail after all."""
        if self._ended is not None:
            raise AssertionError("the end has been announced")
        events: list[Event] = []
        completed = outcome.status is Status.COMPLETED
        self._close(ItemStatus.COMPLETED if completed else ItemStatus.INCOMPLETE, events)
        for waiting in self._waiting.values():
            events += map(self._stamp, waiting.builder.abort())
            self._slots[waiting.slot] = waiting.builder.snapshot()
        self._waiting.clear()
        self._outcome, self._final, self._final_body = outcome, None, b""
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
        self._final_json = splice(self.body(), [item.to_json() for item in self.output])
        self._ended.append(self._lifecycle(TERMINAL[outcome.status], self._final_json))
        return self._ended

    # --- What has come of it ------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether the end has been announced."""
        return self._ended is not None

    @property
    def output(self) -> Sequence[OutputItem]:
        """The closed items, in order."""
        return [item for item in self._slots if item is not None]

    @property
    def waiting(self) -> Sequence[WaitingCall]:
        """The calls that the gateway is to run, in the model's order."""
        return [
            WaitingCall(item_id, entry.offer, entry.builder.arguments, entry.approval_request_id)
            for item_id, entry in self._waiting.items()
        ]

    @property
    def wants_turn(self) -> bool:
        """Whether the model is to be asked again: it called tools of the gateway, and there is
        nothing for the client to do first."""
        return self._runs_on and not self._asks

    @property
    def may_run(self) -> bool:
        """Whether the client's limit (``max_tool_calls``) lets the gateway run another call."""
        limit = self.response.max_tool_calls
        return limit is None or self._our_calls < limit

    @property
    def calls(self) -> Sequence[OutputItem]:
        """The complete calls, of whichever kind of tool."""
        return [
            item
            for item in self.output
            if item.type.endswith("_call") and item.status == ItemStatus.COMPLETED
        ]

    @property
    def usage(self) -> TurnUsage | None:
        """Tokens of all turns that ended; None before the first."""
        return self._usage

    def body(self) -> bytes:
        """The resource without its output, as it is or, once settled, as it will be announced."""
        if self._outcome is None:
            return self.response.to_body()
        if not self._final_body:  # it is stored, then told
            self._final_body = self._settled().to_body()
        return self._final_body

    def to_json(self) -> bytes:
        """The whole resource."""
        return self._final_json or splice(self.body(), [item.to_json() for item in self.output])

    # --- Items --------------------------------------------------------------------------------

    def _continue(self, kind: str, events: list[Event]) -> ItemBuilder:
        """The builder of the open item of this kind; a new one when there is none."""
        if self._open is not None and self._open_key == kind:
            return self._open
        self._close(ItemStatus.COMPLETED, events)
        if kind == "message":
            self._answered = True
            return self._begin(kind, MessageBuilder(self._place("msg"), self._files), events)
        return self._begin(kind, ReasoningBuilder(self._place("rs"), seal=self._seal), events)

    def _start_call(self, start: ToolCallStart, events: list[Event]) -> None:
        """Open the item that the tool's calls are. Calls that the client's choice of tools
        forbids are dropped, since not every model keeps to it, and those over its limit."""
        self._close(ItemStatus.COMPLETED, events)
        offer = self._offers.meant(start.name)
        permitted = self._offers.permits(offer)
        if permitted and offer is not None and offer.is_ours:
            self._runs_on, permitted = True, self.may_run
        elif permitted:
            self._asks = True
        self._dropped = None if permitted else start.call
        if not permitted:
            return
        self._answered = True
        self._our_calls += offer is not None and offer.is_ours and offer.approval is None
        builder = call_builder(
            offer,
            start.name,
            ids=self._ids,
            index=len(self._slots),
            code_outputs=self._code_outputs,
        )
        self._begin(start.call, builder, events, offer)

    # --- What the gateway runs ----------------------------------------------------------------

    def _list_tools(self, listed: ToolsListed, events: list[Event]) -> None:
        item, told = list_tools(self._place("mcpl"), listed.label, listed.tools)
        events += map(self._stamp, told)
        self._slots.append(item)

    def _resume_call(self, call: CallResumed, events: list[Event]) -> None:
        """A call that the client has approved: written at once, with what the model once wrote."""
        offer = self._offers.get(call.name)
        assert offer is not None
        assert offer.label is not None
        self._our_calls += 1
        self._runs_on = True
        builder = McpCallBuilder(
            self._place("mcp"),
            server_label=offer.label,
            name=offer.tool,
            approval_request_id=call.approval_request_id,
        )
        self._begin(call, builder, events, offer)
        events += map(self._stamp, builder.feed(ToolCallArguments(0, call.arguments)))
        self._close(ItemStatus.COMPLETED, events, approval_request_id=call.approval_request_id)

    def _carry_on(self, delta: CallBegan | CallEnded, events: list[Event]) -> None:
        waiting = self._waiting[delta.item_id]
        if isinstance(delta, CallBegan):
            self.has_acted = True
            events += map(self._stamp, waiting.builder.begin())
            return
        self._files |= {file.path: file for file in delta.result.files}
        events += map(self._stamp, waiting.builder.end(delta.result))
        self._slots[waiting.slot] = waiting.builder.snapshot()
        del self._waiting[delta.item_id]

    # --- The model's turn ---------------------------------------------------------------------

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
        return Place(self._ids(prefix), len(self._slots))

    def _begin(
        self,
        key: object,
        builder: ItemBuilder,
        events: list[Event],
        offer: Offer | None = None,
    ) -> ItemBuilder:
        self._open, self._open_key, self._open_offer = builder, key, offer
        events += map(self._stamp, builder.open())
        return builder

    def _close(
        self, status: ItemStatus, events: list[Event], *, approval_request_id: str | None = None
    ) -> None:
        if self._open is None:
            return
        builder, self._open, self._open_key = self._open, None, None
        events += map(self._stamp, builder.close(status))
        offer = self._open_offer
        if offer is None or not offer.is_ours:
            self._slots.append(builder.snapshot())
            return
        ours = cast("HostedCallBuilder", builder)
        item = ours.snapshot()
        if ours.waits:
            waiting = _Waiting(ours, offer, len(self._slots), approval_request_id)
            self._waiting[item.id] = waiting
        elif status is ItemStatus.COMPLETED:
            self._asks = True  # for the client's approval
        self._slots.append(None if ours.waits else item)

    # --- Events -------------------------------------------------------------------------------

    def _stamp(self, event: ItemEvent) -> Event:
        """Number one item event; the only other events are those of ``_number``'s two callers."""
        number = self._number()
        if not self._told:
            return Event(event.type, number, b"")
        if type(event) is HotEvent:
            json = b"%b%b%b%d}" % (event.head, orjson.dumps(event.delta), event.tail, number)
            return Event(event.type, number, json)
        assert not isinstance(event, HotEvent)
        event.sequence_number = number
        return Event(event.type, number, type(event).__pydantic_serializer__.to_json(event))

    def _lifecycle(self, kind: str, response: bytes) -> Event:
        number = self._number()
        if not self._told:
            return Event(kind, number, b"")
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
        if self._final is not None:
            return self._final
        self._final = response = Response(**vars(self.response))
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
