"""What holds for every stream of events, whatever it tells, and how the official client reads it.

``check_stream`` takes streams that have ended and such that just stop, as those of cancelled
responses do.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import httpx2
import openai

from apps.api.protocol.events import Event
from apps.api.sse import encode
from tests.spec_tables import check_event

Json = dict[str, Any]

TERMINAL = ("response.completed", "response.incomplete", "response.failed")

PARTS = {
    "response.output_text": ("output_text", "text"),
    "response.refusal": ("refusal", "refusal"),
    "response.reasoning_text": ("reasoning_text", "text"),
}
"""The events of growing parts: the part's type and which of its members grows."""

GROWING = {
    "response.function_call_arguments": ("function_call", "arguments"),
    "response.custom_tool_call_input": ("custom_tool_call", "input"),
    "response.code_interpreter_call_code": ("code_interpreter_call", "code"),
    "response.mcp_call_arguments": ("mcp_call", "arguments"),
}
"""The events of growing calls: the item's type and which of its members grows."""


STATES = {
    "response.code_interpreter_call": (
        "code_interpreter_call",
        "in_progress interpreting completed",
    ),
    "response.mcp_call": ("mcp_call", "in_progress completed failed"),
    "response.mcp_list_tools": ("mcp_list_tools", "in_progress completed failed"),
}
"""The events about the states of hosted calls: the item's type, and the states in order."""

OURS = ("code_interpreter_call", "mcp_call")
"""Calls that wait for their end while other items come."""

WHOLE = ("mcp_list_tools", "mcp_approval_request")
"""Items without a status."""


def decoded(events: Iterable[Event]) -> list[Json]:
    """The events as clients see them."""
    stream = []
    for event in events:
        value = json.loads(event.json)
        assert (value["type"], value["sequence_number"]) == (event.type, event.sequence_number)
        stream.append(value)
    return stream


def official_events(events: Iterable[Event]) -> list[Any]:
    """The events that the official client's stream helper makes of ours; raises what it raises."""
    headers = {"content-type": "text/event-stream"}
    answer = httpx2.Response(200, headers=headers, content=encode(events))
    transport = httpx2.MockTransport(lambda request: answer)
    http = httpx2.Client(transport=transport)
    client = openai.OpenAI(api_key="any", base_url="http://test/v1", http_client=http)
    with client, client.responses.stream(model="tiny", input="Hi") as stream:
        return list(stream)


def check_stream(stream: Sequence[Json]) -> None:
    """Raise AssertionError unless numbers, order, indexes, ids and texts are right."""
    for number, event in enumerate(stream):
        check_event(event)
        assert event["sequence_number"] == number
    assert [event["type"] for event in stream[:2]] == ["response.created", "response.in_progress"]
    first = stream[0]["response"]
    assert (first["status"], first["output"]) == ("in_progress", [])
    assert {event["response"]["id"] for event in stream if "response" in event} == {first["id"]}
    ends = [position for position, event in enumerate(stream) if event["type"] in TERMINAL]
    assert ends in ([], [len(stream) - 1]), "something follows the end"
    rest = list(stream[2:])
    if ends:
        end = rest.pop()
        _check_end(end, rest.pop() if rest and rest[-1]["type"] == "error" else None)
    items = _items(rest)
    assert not ends or end["response"]["output"] == items


def _check_end(end: Json, error: Json | None) -> None:
    response = end["response"]
    assert end["type"] == f"response.{response['status']}"
    assert (response["completed_at"] is not None) == (response["status"] == "completed")
    assert (response["incomplete_details"] is not None) == (response["status"] == "incomplete")
    assert (response["error"] is not None) == (response["status"] == "failed")
    assert (error is not None) == (response["status"] == "failed")
    if error is not None:
        told = {key: error[key] for key in ("code", "message")}
        assert told == {key: error["error"][key] for key in told} == response["error"]


def _items(events: Sequence[Json]) -> list[Json]:
    """The finished items. The model writes one at a time; calls that the gateway runs stay open
    once they are written. All are closed."""
    items: dict[int, Json] = {}
    open_items: dict[int, _Item] = {}
    for event in events:
        index = event["output_index"]
        if event["type"] == "response.output_item.added":
            assert all(item.waits for item in open_items.values()), "two items are being written"
            assert index == len(items) + len(open_items)
            open_items[index] = _Item(event)
        else:
            assert index in open_items, f"{event['type']} belongs to no item"
            open_items[index].see(event)
            if event["type"] == "response.output_item.done":
                items[index] = event["item"]
                del open_items[index]
    assert not open_items, "an item is left open"
    return [items[index] for index in sorted(items)]


class _Item:
    """One item while it is open."""

    def __init__(self, added: Json) -> None:
        self.added, self.index = added["item"], added["output_index"]
        self.parts: list[Json] = []
        self.part: Json | None = None
        self.text = ""  # of the open part or of the arguments
        self.told: str | None = None  # the whole of it, once it was told
        self.annotations: list[Json] = []
        self.state = -1
        if self.added["type"] in WHOLE:
            assert "status" not in self.added
            return
        assert self.added["status"] == "in_progress"
        assert not self.added.get("content"), "an item begins empty"
        assert not self.added.get("arguments"), "a call begins without arguments"

    @property
    def waits(self) -> bool:
        """Whether it is written, and waits for its end."""
        return self.added["type"] in OURS and self.told is not None

    def see(self, event: Json) -> None:
        assert event["output_index"] == self.index
        about, _, what = event["type"].rpartition(".")
        if what != "done" or about != "response.output_item":
            assert event["item_id"] == self.added["id"]
        if about in PARTS:
            self._text(event, what, *PARTS[about])
        elif about in GROWING:
            kind, key = GROWING[about]
            assert self.added["type"] == kind
            self._grow(event, what, key)
        elif about in STATES:
            self._move(what, *STATES[about])
        elif event["type"] == "response.output_text.annotation.added":
            assert event["annotation_index"] == len(self.annotations)
            self.annotations.append(event["annotation"])
        elif about == "response.content_part":
            self._part(event, what)
        elif about == "response.output_item":
            self._done(event["item"])
        else:
            raise AssertionError(f"unexpected {event['type']}")

    def _move(self, what: str, kind: str, states: str) -> None:
        assert self.added["type"] == kind
        state = states.split().index(what)
        assert state > self.state, f"{what} comes too late"
        self.state = state

    def _text(self, event: Json, what: str, kind: str, member: str) -> None:
        assert self.part is not None, f"{event['type']} outside a part"
        assert (self.part["type"], event["content_index"]) == (kind, len(self.parts))
        self._grow(event, what, member)

    def _grow(self, event: Json, what: str, member: str) -> None:
        assert self.told is None, "it grows after its end"
        if what == "delta":
            self.text += event["delta"]
        else:
            self.told = event[member]
            assert self.told == self.text

    def _part(self, event: Json, what: str) -> None:
        assert event["content_index"] == len(self.parts)
        part = event["part"]
        whole = part.get("refusal") if part["type"] == "refusal" else part.get("text")
        if what == "added":
            assert self.part is None, "two parts are open"
            assert whole == "", "a part begins empty"
            self.part, self.text, self.told = part, "", None
        else:
            assert self.part is not None, "a part ends that never began"
            assert part["type"] == self.part["type"]
            assert whole == self.told
            assert part.get("annotations", []) == self.annotations
            self.annotations = []
            self.parts.append(part)
            self.part = None

    def _done(self, item: Json) -> None:
        assert self.part is None, "a part is left open"
        if item["type"] not in WHOLE:
            failed = ("failed",) if item["type"] in OURS else ()
            assert item["status"] in ("completed", "incomplete", *failed)
        for key in ("type", "id", "call_id", "name"):
            assert item.get(key) == self.added.get(key)
        told = [item[key] for kind, key in GROWING.values() if kind == item["type"]]
        if told:
            assert told == [self.told]
        elif "content" in item:
            assert item["content"] == self.parts
