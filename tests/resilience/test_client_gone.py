"""A client that leaves ends its run: the upstream stops, and what was complete is kept."""

from __future__ import annotations

import threading
import time

import pytest

from tests.gateway import Database, Gateway
from tests.programs import eventually
from tests.resilience.faults import SMALL
from tests.resilience.rows import Row, row_of, row_of_request
from tests.resilience.streams import ROLL, Json, Request, Stream, create, retrieve
from tests.scripted_vllm import ScriptedVLLM, pause, reasoning, text, tool_call

SOON = 1.0
"""Seconds in which the upstream must hear of it on a loaded machine; a tenth is usual."""

WHOLE = tool_call("roll", '{"dice": "2d6"}')
HALF = tool_call("roll", '{"dice')

MOMENTS = {
    "created": (text(), "response.created", []),
    "reasoning": (reasoning("Hm"), "response.reasoning_text.delta", ["incomplete"]),
    "text": (text("A"), "response.output_text.delta", ["incomplete"]),
    "after reasoning": (
        reasoning("Hm") + text("A"),
        "response.output_text.delta",
        ["completed", "incomplete"],
    ),
    "the name of a call": (tool_call("roll"), "response.output_item.added", ["incomplete"]),
    "a call": (HALF, "response.function_call_arguments.delta", ["incomplete"]),
    "after a call": (
        text("A") + WHOLE + HALF,
        "response.function_call_arguments.done",
        ["completed", "completed", "incomplete"],
    ),
}
"""What the upstream says, the event that the client still sees, and the items' states."""


@pytest.fixture
def gateway(stateful_gateway: Gateway) -> Gateway:
    return stateful_gateway


def leave(request: Request, vllm: ScriptedVLLM) -> str:
    """Close the connection; the upstream notices. Gives the id of the request."""
    asked = vllm.chats[-1]
    left_at = time.monotonic()
    request.leave()
    assert asked.aborted.wait(5)
    assert time.monotonic() - left_at < SOON
    return asked.headers["x-request-id"]


def ended(database: Database, request_id: str) -> Row:
    """The row of the run, once it is no longer in progress."""

    def look() -> Row | None:
        row = row_of_request(database, request_id)
        return row if row and row.status != "in_progress" else None

    return eventually(look)


def sent_next(gateway: Gateway, vllm: ScriptedVLLM, previous: str) -> list[Json]:
    """What the upstream is told when the client goes on from a response."""
    create(gateway, previous_response_id=previous, input="And now?")
    messages: list[Json] = vllm.chats[-1].body["messages"]
    return messages


@pytest.mark.parametrize("moment", MOMENTS)
def test_leaving_in_mid_stream_cancels_the_run(
    gateway: Gateway,
    database: Database,
    vllm: ScriptedVLLM,
    forever: threading.Event,
    moment: str,
) -> None:
    said, event, states = MOMENTS[moment]
    vllm.script(said + pause(forever))
    stream = Stream(gateway, tools=[ROLL])
    response_id = stream.begun()
    if event != "response.created":
        stream.until(event)
    row = ended(database, leave(stream, vllm))
    assert (row.id, row.failure) == (response_id, ("cancelled", "", "", None))
    stored = retrieve(gateway, response_id)
    assert (stored["status"], stored["error"]) == ("cancelled", None)
    assert [item["status"] for item in stored["output"]] == states


EVENTS = 2 + (2 + 2 + 3) + (2 + 2 + 3) + (1 + 2)
"""Of ``SMALL`` before its end: the beginning; reasoning, text and call."""


@pytest.mark.parametrize("number", range(1, EVENTS + 1))
def test_leaving_after_any_event_cancels_the_run(
    gateway: Gateway,
    database: Database,
    vllm: ScriptedVLLM,
    forever: threading.Event,
    number: int,
) -> None:
    vllm.script(SMALL + pause(forever))
    stream = Stream(gateway, tools=[ROLL])
    seen = [stream.next() for _ in range(number)]
    row = ended(database, leave(stream, vllm))
    assert row.failure == ("cancelled", "", "", None)
    stored = retrieve(gateway, row.id)
    assert stored["status"] == "cancelled"
    done = [event["item"] for event in seen if event["type"] == "response.output_item.done"]
    assert stored["output"][: len(done)] == done


@pytest.mark.parametrize("number", range(EVENTS + 1, EVENTS + 4))
def test_leaving_while_the_end_is_told_changes_nothing(
    gateway: Gateway, database: Database, vllm: ScriptedVLLM, number: int
) -> None:
    vllm.script(SMALL)
    stream = Stream(gateway, tools=[ROLL])
    seen = [stream.next() for _ in range(number)]
    stream.leave()
    response_id = seen[0]["response"]["id"]
    row = ended(database, vllm.chats[-1].headers["x-request-id"])
    assert (row.id, row.status) == (response_id, "completed")
    assert len(retrieve(gateway, response_id)["output"]) == 3


@pytest.mark.parametrize("stream", [True, False])
def test_leaving_before_the_headers_cancels_the_run(
    gateway: Gateway,
    database: Database,
    vllm: ScriptedVLLM,
    forever: threading.Event,
    stream: bool,
) -> None:
    vllm.script(text("A", hang_before_headers=forever))
    number = len(vllm.requests)
    request = Request(gateway, stream=stream)
    vllm.wait_for_requests(number + 1)
    row = ended(database, leave(request, vllm))
    assert row.failure == ("cancelled", "", "", None)
    assert retrieve(gateway, row.id)["output"] == []


def test_leaving_while_json_is_collected_cancels_the_run(
    gateway: Gateway, database: Database, vllm: ScriptedVLLM, forever: threading.Event
) -> None:
    vllm.script(text("A") + WHOLE + HALF + pause(forever))
    number = len(vllm.requests)
    request = Request(gateway, tools=[ROLL])
    request_id = vllm.wait_for_requests(number + 1)[-1].headers["x-request-id"]
    eventually(lambda: row_of_request(database, request_id))  # visible: it waits for more
    leave(request, vllm)
    row = ended(database, request_id)
    assert row.failure == ("cancelled", "", "", None)
    output = retrieve(gateway, row.id)["output"]
    assert [(item["type"], item["status"]) for item in output] == [
        ("message", "completed"),
        ("function_call", "completed"),
        ("function_call", "incomplete"),
    ]


@pytest.mark.parametrize("moment", ["a call", "after a call"])
def test_a_call_of_a_run_that_was_left_is_not_offered_again(
    gateway: Gateway,
    database: Database,
    vllm: ScriptedVLLM,
    forever: threading.Event,
    moment: str,
) -> None:
    said, event, _ = MOMENTS[moment]
    vllm.script(said + pause(forever))
    stream = Stream(gateway, tools=[ROLL])
    response_id = stream.begun()
    stream.until(event)
    ended(database, leave(stream, vllm))
    messages = sent_next(gateway, vllm, response_id)
    assert not [message for message in messages if message.get("tool_calls")]
    assert [message["content"] for message in messages if message["role"] == "user"] == [
        "Hi",
        "And now?",
    ]


def test_a_whole_call_of_a_run_that_was_left_can_be_answered(
    gateway: Gateway, database: Database, vllm: ScriptedVLLM, forever: threading.Event
) -> None:
    vllm.script(WHOLE + HALF + pause(forever))
    stream = Stream(gateway, tools=[ROLL])
    response_id = stream.begun()
    call = stream.until("response.output_item.done")["item"]
    ended(database, leave(stream, vllm))
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "7"}
    create(gateway, previous_response_id=response_id, input=[output], tools=[ROLL])
    asked, answer = vllm.chats[-1].body["messages"][-2:]
    assert [c["function"]["arguments"] for c in asked["tool_calls"]] == ['{"dice": "2d6"}']
    assert (answer["role"], answer["content"]) == ("tool", "7")


def test_leaving_changes_nothing_for_others(
    gateway: Gateway, database: Database, vllm: ScriptedVLLM, forever: threading.Event
) -> None:
    go_on = threading.Event()
    vllm.script(text("A") + pause(go_on) + text("B"), text("A") + pause(forever))
    staying = Stream(gateway)
    staying.until("response.output_text.delta")
    leaving = Stream(gateway)
    leaving.until("response.output_text.delta")
    leave(leaving, vllm)
    go_on.set()
    response = staying.end()
    row = row_of(database, response["id"])
    assert row is not None
    assert row.status == response["status"] == "completed"
