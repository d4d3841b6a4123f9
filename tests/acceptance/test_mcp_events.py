"""The order of events about MCP, as clients get them: whole streams, those of a real vLLM among
them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import pytest

from tests.acceptance.calculator import declare
from tests.acceptance.exchanges import stream
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, recorded, text, tool_call
from tests.scripted_vllm.replies import RECORDINGS
from tests.tools.mcp.servers import OnHttp, toys

Json = dict[str, Any]

CALL_ID = re.compile(r"\bcall_[0-9a-zA-Z]{24}\b")
ADDED, DONE = "output_item.added", "output_item.done"
LISTED = [ADDED, "mcp_list_tools.in_progress", "mcp_list_tools.completed", DONE]
WRITTEN = [ADDED, "mcp_call.in_progress", "mcp_call_arguments.delta", "mcp_call_arguments.done"]
CALLED = [*WRITTEN, "mcp_call.completed", DONE]
FAILED = [*WRITTEN, "mcp_call.failed", DONE]
ASKED = [ADDED, DONE]
THOUGHT = [ADDED, "content_part.added", "reasoning_text.delta", "reasoning_text.done",
           "content_part.done", DONE]  # fmt: skip
SAID = [ADDED, "content_part.added", "output_text.delta", "output_text.done", "content_part.done",
        DONE]  # fmt: skip


def order(events: Sequence[Json]) -> list[str]:
    """What happens between the first two events and the last one; deltas in a row count once."""
    assert [event["type"] for event in (*events[:2], events[-1])] == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]
    names = [event["type"].removeprefix("response.") for event in events[2:-1]]
    return [name for name, _ in groupby(names)]


def of_item(events: Sequence[Json], index: int) -> list[Json]:
    return [event for event in events if event.get("output_index") == index]


def output(events: Sequence[Json]) -> list[Json]:
    items: list[Json] = events[-1]["response"]["output"]
    return items


def add(vllm: ScriptedVLLM, *more: Any, arguments: str = '{"a": 2, "b": 3}') -> None:
    vllm.script(tool_call("calc__add", arguments), *more)


def test_a_list_and_a_call(mcp_gateway: Gateway, calculator: OnHttp, vllm: ScriptedVLLM) -> None:
    add(vllm, text("Five."))
    events = stream(mcp_gateway, tools=[declare(calculator)])
    assert order(events) == [*LISTED, *CALLED, *SAID]

    begun, *_, ended = of_item(events, 0)
    assert begun["item"] == {
        "id": begun["item"]["id"],
        "type": "mcp_list_tools",
        "server_label": "calc",
        "tools": [],
    }
    assert ended["item"]["tools"][0] == {
        "name": "add",
        "description": "Adds two numbers.",
        "input_schema": ended["item"]["tools"][0]["input_schema"],
    }, "what is not there is left out: typed clients do not take null"

    begun, *_, ended = of_item(events, 1)
    call = {
        "id": begun["item"]["id"],
        "type": "mcp_call",
        "server_label": "calc",
        "name": "add",
        "approval_request_id": None,
        "error": None,
    }
    assert begun["item"] == call | {"status": "in_progress", "arguments": "", "output": None}
    written = call | {"arguments": '{"a": 2, "b": 3}'}
    assert ended["item"] == written | {"status": "completed", "output": "5"}
    assert [item["id"].split("_")[0] for item in output(events)] == ["mcpl", "mcp", "msg"]


def test_with_the_list_in_context_there_is_none(
    mcp_gateway: Gateway, calculator: OnHttp, vllm: ScriptedVLLM
) -> None:
    vllm.script(text("Hi."))
    first = stream(mcp_gateway, tools=[declare(calculator)])
    add(vllm, text("Five."))
    past = first[-1]["response"]["id"]
    second = stream(mcp_gateway, tools=[declare(calculator)], previous_response_id=past)
    assert order(first) == [*LISTED, *SAID]
    assert order(second) == [*CALLED, *SAID]


def test_a_call_that_fails(mcp_gateway: Gateway, calculator: OnHttp, vllm: ScriptedVLLM) -> None:
    vllm.script(tool_call("calc__fail", "{}"), text("Sorry."))
    events = stream(mcp_gateway, tools=[declare(calculator)])
    assert order(events) == [*LISTED, *FAILED, *SAID]
    call = output(events)[1]
    assert (call["status"], call["output"]) == ("failed", None)
    words = [{"type": "text", "text": "Error executing tool fail"}]
    assert call["error"] == {"type": "mcp_tool_execution_error", "content": words}


def decision(request: Json, *, approve: bool) -> list[Json]:
    said = {"approval_request_id": request["id"], "approve": approve}
    return [{"type": "mcp_approval_response", **said}]


def test_an_approval_that_is_asked_for_and_given(
    mcp_gateway: Gateway, calculator: OnHttp, vllm: ScriptedVLLM
) -> None:
    tools = [declare(calculator, require_approval="always")]
    add(vllm)
    asked = stream(mcp_gateway, tools=tools)
    assert order(asked) == [*LISTED, *ASKED]
    added, done = of_item(asked, 1)
    request = added["item"]
    assert done["item"] == request, "it is whole from the start"
    assert request["arguments"] == '{"a": 2, "b": 3}'

    vllm.script(text("Five."))
    past = asked[-1]["response"]["id"]
    given = stream(
        mcp_gateway,
        tools=tools,
        previous_response_id=past,
        input=decision(request, approve=True),
    )
    assert order(given) == [*CALLED, *SAID]
    assert output(given)[0]["approval_request_id"] == request["id"]


def test_an_approval_that_is_denied(
    mcp_gateway: Gateway, calculator: OnHttp, vllm: ScriptedVLLM
) -> None:
    tools = [declare(calculator, require_approval="always")]
    add(vllm, text("Well."))
    asked = stream(mcp_gateway, tools=tools)
    answer = decision(output(asked)[1], approve=False)
    past = asked[-1]["response"]["id"]
    denied = stream(mcp_gateway, tools=tools, previous_response_id=past, input=answer)
    assert order(denied) == SAID


# --- A real vLLM's bytes ----------------------------------------------------------------------


@pytest.fixture
def toy_server() -> Iterator[OnHttp]:
    """The server that was there when the bytes were recorded."""
    with OnHttp(toys().streamable_http_app()) as running:
        yield running


def replayed(
    gateway: Gateway, server: OnHttp, vllm: ScriptedVLLM, *names: str, **body: Any
) -> list[Json]:
    """The stream of a request that makes the recorded ones, and gets the recorded answers."""
    asked = [json.loads((RECORDINGS / f"mcp/{name}.request.json").read_text()) for name in names]
    vllm.script(*(recorded(f"mcp/{name}") for name in names))
    events = stream(
        gateway,
        input=asked[0]["body"]["messages"][0]["content"],
        temperature=0,
        tools=[declare(server, server_label="toys", **body)],
    )
    sent = [numbered(request.body) for request in vllm.chats]
    assert sent == [numbered(request["body"]) for request in asked]
    return events


def numbered(body: Json) -> Json:
    """With the ids of calls in place of which others are drawn each time."""
    found = dict.fromkeys(CALL_ID.findall(written := json.dumps(body)))
    for number, call_id in enumerate(found):
        written = written.replace(call_id, f"call {number}")
    return json.loads(written)  # type: ignore[no-any-return]


def test_a_recorded_call(mcp_gateway: Gateway, toy_server: OnHttp, vllm: ScriptedVLLM) -> None:
    events = replayed(mcp_gateway, toy_server, vllm, "call", "result")
    assert order(events) == [*LISTED, *THOUGHT, *CALLED, *THOUGHT, *SAID]
    call, *_, message = output(events)[2:]
    assert (call["name"], call["arguments"], call["output"]) == ("look", '{"q": "blue"}', "a blue")
    assert message["content"][0]["text"] == "The result is a blue"


def test_recorded_calls_side_by_side(
    mcp_gateway: Gateway, toy_server: OnHttp, vllm: ScriptedVLLM
) -> None:
    events = replayed(mcp_gateway, toy_server, vllm, "calls", "results")
    before = [*LISTED, *THOUGHT, *WRITTEN, *WRITTEN]
    ends = ["mcp_call.completed", DONE] * 2
    assert order(events) == [*before, *ends, *THOUGHT, *SAID]
    for index, colour in ((2, "blue"), (3, "red")):
        of_call = of_item(events, index)
        assert [name for name, _ in groupby(event["type"] for event in of_call)] == [
            f"response.{name}" for name in CALLED
        ]
        assert of_call[-1]["item"]["output"] == f"a {colour}"
    assert output(events)[-1]["content"][0]["text"] == "The results are a blue and a red"


def test_a_recorded_call_that_needs_approval(
    mcp_gateway: Gateway, toy_server: OnHttp, vllm: ScriptedVLLM
) -> None:
    events = replayed(mcp_gateway, toy_server, vllm, "call", require_approval="always")
    assert order(events) == [*LISTED, *THOUGHT, *ASKED]
    assert output(events)[-1]["arguments"] == '{"q": "blue"}'
