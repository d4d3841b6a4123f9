"""MCP tools through the official client, a real gateway and a real MCP server."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.acceptance.calculator import PIXEL, declare
from tests.gateway import Gateway
from tests.numbers import Numbers
from tests.programs import eventually
from tests.scripted_vllm import ScriptedVLLM, calls, text, tool_call
from tests.tools.mcp.servers import OnHttp

Json = dict[str, Any]


def test_calls_are_counted_by_what_came_of_them(
    mcp_client: openai.OpenAI, mcp_gateway: Gateway, calculator: OnHttp, vllm: ScriptedVLLM
) -> None:
    before = Numbers(mcp_gateway.url)
    vllm.script(calls(("calc__add", {"a": 2, "b": 3}), ("calc__fail", {})), text("Done."))
    mcp_client.responses.create(model="tiny", input="Go.", tools=[declare(calculator)])
    after = Numbers(mcp_gateway.url)
    for outcome in ("ok", "tool_error"):
        labels = {"kind": "mcp", "outcome": outcome}
        assert after("tool_calls_total", **labels) - before("tool_calls_total", **labels) == 1


def test_a_server_of_the_request_is_listed_called_and_told(
    mcp_client: openai.OpenAI, calculator: OnHttp, vllm: ScriptedVLLM
) -> None:
    vllm.script(tool_call("calc__add", '{"a": 2, "b": 3}'), text("Five."))
    response = mcp_client.responses.create(model="tiny", input="2+3?", tools=[declare(calculator)])
    listed, call, _ = response.output
    assert listed.type == "mcp_list_tools"
    assert [tool.name for tool in listed.tools] == ["add", "files.read/all", "fail"]
    assert call.type == "mcp_call"
    assert (call.name, call.output, call.error) == ("add", "5", None)
    assert response.output_text == "Five."
    sent = vllm.requests[-1].body["messages"]
    assert [entry["role"] for entry in sent] == ["user", "assistant", "tool"]
    assert sent[-1]["content"] == "5"
    assert mcp_client.responses.retrieve(response.id).output == response.output


def test_the_url_is_echoed_without_its_path_and_secrets_not_at_all(
    mcp_client: openai.OpenAI, calculator: OnHttp, vllm: ScriptedVLLM, mcp_gateway: Gateway
) -> None:
    vllm.script(text("Hi."))
    tool = declare(calculator, headers={"X-Key": "s3cret-header"}, authorization="s3cret-token")
    response = mcp_client.responses.create(model="tiny", input="Hi", tools=[tool])
    tools: Any = response.to_dict()["tools"]
    echo = tools[0]
    assert echo["server_url"] == f"http://127.0.0.1:{calculator.port}"
    assert "s3cret" not in str(response.to_dict())
    assert calculator.headers[-1]["authorization"] == "Bearer s3cret-token"
    stored = mcp_gateway.database.query("SELECT body FROM store_responsepayload")
    assert "s3cret" not in str(stored)
    assert "/mcp" not in str(stored)


def test_a_continuation_does_not_list_again_and_sees_the_call(
    mcp_client: openai.OpenAI, calculator: OnHttp, vllm: ScriptedVLLM
) -> None:
    vllm.script(
        calls(("calc__add", {"a": 1, "b": 1}), ("calc__add", {"a": 2, "b": 2})),
        text("2 and 4."),
        text("Yes."),
    )
    first = mcp_client.responses.create(model="tiny", input="Both?", tools=[declare(calculator)])
    second = mcp_client.responses.create(
        model="tiny", input="Sure?", previous_response_id=first.id, tools=[declare(calculator)]
    )
    assert [item.type for item in second.output] == ["message"]
    before, after = vllm.requests[-2].body["messages"], vllm.requests[-1].body["messages"]
    assert after[: len(before)] == before
    assert [entry["role"] for entry in after] == [
        "user", "assistant", "tool", "tool", "assistant", "user",
    ]  # fmt: skip


def test_a_tool_that_fails_is_told_and_arguments_that_do_not_fit_too(
    mcp_client: openai.OpenAI, calculator: OnHttp, vllm: ScriptedVLLM
) -> None:
    vllm.script(
        calls(("calc__fail", {}), ("calc__add", {"a": "x"})),
        text("Sorry."),
    )
    response = mcp_client.responses.create(model="tiny", input="Fail", tools=[declare(calculator)])
    _, failed, unfit, _ = response.output
    assert failed.type == unfit.type == "mcp_call"
    assert (failed.status, unfit.status) == ("failed", "failed")
    told = [m["content"] for m in vllm.requests[-1].body["messages"] if m["role"] == "tool"]
    assert told[0] == "Error: Error executing tool fail"
    assert "do not fit" in told[1]


def test_names_of_any_form_are_mapped_and_images_are_kept(
    mcp_client: openai.OpenAI, calculator: OnHttp, vllm: ScriptedVLLM, mcp_gateway: Gateway
) -> None:
    vllm.script(tool_call("calc__files_read_all", "{}"), text("Done."))
    response = mcp_client.responses.create(model="tiny", input="Read", tools=[declare(calculator)])
    call = response.output[1]
    assert call.type == "mcp_call"
    assert (call.name, call.output) == ("files.read/all", "one\n[image]")
    assert PIXEL not in mcp_gateway.http.get(f"/v1/responses/{response.id}").text


@pytest.mark.parametrize("way", ["stateful", "stateless", "by reference"])
def test_an_approval_is_asked_for_and_given(
    mcp_client: openai.OpenAI, calculator: OnHttp, vllm: ScriptedVLLM, way: str
) -> None:
    vllm.script(tool_call("calc__add", '{"a": 2, "b": 3}'))
    tool = declare(calculator)
    del tool["require_approval"]
    store = way != "stateless"
    first = mcp_client.responses.create(model="tiny", input="2+3?", tools=[tool], store=store)
    request = first.output[-1]
    assert request.type == "mcp_approval_request"
    answer: Any = {
        "type": "mcp_approval_response",
        "approval_request_id": request.id,
        "approve": True,
    }
    vllm.script(text("Five."))
    if way == "stateful":
        second = mcp_client.responses.create(
            model="tiny", input=[answer], previous_response_id=first.id, tools=[tool]
        )
    else:  # the AI SDK names the request by its id, and leaves out the list of tools
        reference = {"type": "item_reference", "id": request.id}
        asked = first.output if way == "stateless" else [reference]
        history: Any = [{"role": "user", "content": "2+3?"}, *asked, answer]
        second = mcp_client.responses.create(model="tiny", input=history, tools=[tool], store=store)
    *listed, call, message = second.output
    assert [item.type for item in listed] == ["mcp_list_tools"] * (way == "by reference")
    assert call.type == "mcp_call"
    assert (call.approval_request_id, call.output) == (request.id, "5")
    assert message.type == "message"
    sent = vllm.requests[-1].body["messages"]
    assert [entry["role"] for entry in sent] == ["user", "assistant", "tool"]


@pytest.mark.parametrize("store", [True, False])
def test_an_approval_that_is_sent_again_makes_no_second_call(
    mcp_client: openai.OpenAI, calculator: OnHttp, vllm: ScriptedVLLM, *, store: bool
) -> None:
    vllm.script(tool_call("calc__add", '{"a": 2, "b": 3}'))
    tool = declare(calculator, require_approval="always")
    first = mcp_client.responses.create(model="tiny", input="2+3?", tools=[tool], store=store)
    answer: Any = {
        "type": "mcp_approval_response",
        "approval_request_id": first.output[-1].id,
        "approve": True,
    }
    history: Any = [{"role": "user", "content": "2+3?"}, *first.output, answer]
    ask: Any = (
        {"input": [answer], "previous_response_id": first.id}
        if store
        else {"input": history, "store": False}
    )
    vllm.script(text("Five."), text("It was made."))
    used = mcp_client.responses.create(model="tiny", tools=[tool], **ask)
    again = mcp_client.responses.create(model="tiny", tools=[tool], **ask)
    call, message = again.output
    assert call.type == "mcp_call"
    assert (call.status, call.output, call.approval_request_id) == (
        "failed",
        None,
        first.output[-1].id,
    )
    error: Any = call.error
    assert (error.type, error.code) == ("http_error", 409)
    assert used.id in error.message
    assert message.type == "message"
    assert used.id in vllm.requests[-1].body["messages"][-1]["content"]


def test_an_approval_for_other_arguments_is_forged(
    mcp_client: openai.OpenAI, calculator: OnHttp, vllm: ScriptedVLLM
) -> None:
    vllm.script(tool_call("calc__add", '{"a": 2, "b": 3}'))
    tool = declare(calculator, require_approval="always")
    first = mcp_client.responses.create(model="tiny", input="2+3?", tools=[tool], store=False)
    request = first.output[-1].to_dict() | {"arguments": '{"a": 2, "b": 4000}'}
    answer = {
        "type": "mcp_approval_response",
        "approval_request_id": request["id"],
        "approve": True,
    }
    history: Any = [{"role": "user", "content": "2+3?"}, request, answer]
    with pytest.raises(openai.BadRequestError) as caught:
        mcp_client.responses.create(model="tiny", input=history, tools=[tool])
    assert caught.value.param == "input[2].approval_request_id"


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"server_url": "http://127.0.0.1:9/mcp"}, "tools[0].server_url"),
        ({"server_url": "ftp://x.test/"}, "tools[0].server_url"),
        ({"server_url": "https://u:p@x.test/"}, "tools[0].server_url"),
        ({"server_url": None}, "tools[0].server_label"),
        ({"connector_id": "connector_gmail"}, "tools[0].connector_id"),
        ({"tunnel_id": "t"}, "tools[0].tunnel_id"),
        ({"defer_loading": True}, "tools[0].defer_loading"),
        ({"allowed_tools": []}, "tools[0].allowed_tools"),
        ({"allowed_tools": ["none"]}, "tools[0].allowed_tools"),
        ({"headers": {"X\n": "1"}}, "tools[0].headers"),
        ({"require_approval": "maybe"}, "tools[0].require_approval"),
    ],
)
def test_what_cannot_be_offered_is_refused_before_the_first_byte(
    mcp_client: openai.OpenAI, calculator: OnHttp, more: Json, param: str
) -> None:
    tool: Any = {k: v for k, v in declare(calculator, **more).items() if v is not None}
    with pytest.raises(openai.BadRequestError) as caught:
        mcp_client.responses.create(model="tiny", input="Hi", tools=[tool], stream=True)
    assert caught.value.param == param


@pytest.mark.parametrize("streamed", [True, False])
def test_a_server_that_is_away_is_told_to_the_client_and_to_operators(
    mcp_client: openai.OpenAI, mcp_gateway: Gateway, calculator: OnHttp, streamed: bool
) -> None:
    away = declare(calculator, server_url="http://127.0.0.1:1/mcp")
    with pytest.raises(openai.BadRequestError) as caught:
        mcp_client.responses.create(model="tiny", input="Hi", tools=[away], stream=streamed)
    assert (caught.value.code, caught.value.param) == (
        "mcp_server_unavailable",
        "tools[0].server_url",
    )
    request_id = caught.value.request_id
    row = (
        "SELECT status, error_code, error_stage, kept, duration_ms, "
        "86400000 * (julianday(ended_at) - julianday(created_at)) "
        "FROM store_response WHERE request_id = %s"
    )
    (told,) = eventually(lambda: mcp_gateway.database.query(row, request_id) or None)
    assert told[:4] == ("failed", "mcp_server_unavailable", "tools", 0)
    assert told[4] == pytest.approx(told[5], abs=500), "the time that the server was tried"


def test_a_label_is_declared_once(mcp_client: openai.OpenAI, calculator: OnHttp) -> None:
    tools = [declare(calculator), declare(calculator)]
    with pytest.raises(openai.BadRequestError) as caught:
        mcp_client.responses.create(model="tiny", input="Hi", tools=tools)
    assert "calc" in caught.value.message


CHOSEN: dict[str, Any] = {"type": "mcp", "server_label": "calc", "name": "add"}


@pytest.mark.parametrize(
    "choice",
    [CHOSEN, {"type": "allowed_tools", "mode": "required", "tools": [CHOSEN]}],
    ids=["a tool", "allowed tools"],
)
def test_a_tool_of_a_server_can_be_chosen(
    mcp_client: openai.OpenAI, calculator: OnHttp, vllm: ScriptedVLLM, choice: Any
) -> None:
    vllm.script(tool_call("calc__add", '{"a": 2, "b": 3}'), text("Five."))
    response = mcp_client.responses.create(
        model="tiny", input="2+3?", tools=[declare(calculator)], tool_choice=choice
    )
    assert response.output_text == "Five."
    forced, free = (request.body for request in vllm.requests[-2:])
    if forced["tool_choice"] == "required":
        assert [tool["function"]["name"] for tool in forced["tools"]] == ["calc__add"]
    else:
        assert forced["tool_choice"]["function"]["name"] == "calc__add"
    assert free["tool_choice"] == "auto", "or it would be called for ever"


def test_what_was_done_is_written_down(
    mcp_client: openai.OpenAI, calculator: OnHttp, vllm: ScriptedVLLM, mcp_gateway: Gateway
) -> None:
    vllm.script(tool_call("calc__add", '{"a": 2, "b": 3}'), text("Five."))
    tool = declare(calculator, require_approval="always")
    asked = mcp_client.responses.create(model="tiny", input="2+3?", tools=[tool])
    approval = {"approval_request_id": asked.output[-1].id, "approve": True, "reason": "Why not."}
    answer: Any = {"type": "mcp_approval_response", **approval}
    made = mcp_client.responses.create(
        model="tiny", input=[answer], tools=[tool], previous_response_id=asked.id
    )
    query = mcp_gateway.database.query
    approvals = (
        "SELECT decision, reason, tool, arguments, used_by FROM store_mcpapproval"
        " WHERE response_id = %s"
    )
    calls = "SELECT tool, arguments, outcome FROM store_mcpcall WHERE response_id = %s"
    arguments = '{"a": 2, "b": 3}'
    eventually(
        lambda: query(approvals, asked.id) == [("approved", "Why not.", "add", arguments, made.id)]
    )
    eventually(lambda: query(calls, made.id) == [("add", arguments, "ok")])


def test_a_call_that_was_approved_after_it_was_denied_is_written_down_as_approved(
    mcp_client: openai.OpenAI, calculator: OnHttp, vllm: ScriptedVLLM, mcp_gateway: Gateway
) -> None:
    vllm.script(tool_call("calc__add", '{"a": 2, "b": 3}'), text("Well."), text("Five."))
    tool = declare(calculator, require_approval="always")
    asked = mcp_client.responses.create(model="tiny", input="2+3?", tools=[tool])
    approvals = "SELECT decision, reason, used_by FROM store_mcpapproval WHERE response_id = %s"

    def decide(*, approve: bool, reason: str) -> Any:
        said = {"approval_request_id": asked.output[-1].id, "approve": approve, "reason": reason}
        answer: Any = {"type": "mcp_approval_response", **said}
        return mcp_client.responses.create(
            model="tiny", input=[answer], tools=[tool], previous_response_id=asked.id
        )

    decide(approve=False, reason="Not now.")
    eventually(
        lambda: mcp_gateway.database.query(approvals, asked.id) == [("denied", "Not now.", "")]
    )
    made = decide(approve=True, reason="Now.")
    assert made.output[0].output == "5"
    assert mcp_gateway.database.query(approvals, asked.id) == [("approved", "Now.", made.id)]


@pytest.mark.parametrize("approval", ["never", "always"])
@pytest.mark.parametrize("depth", [300, 900])
def test_arguments_that_no_server_can_read_are_told_and_written_down(
    mcp_client: openai.OpenAI,
    calculator: OnHttp,
    vllm: ScriptedVLLM,
    mcp_gateway: Gateway,
    depth: int,
    approval: str,
) -> None:
    deep = '{"a": 2, "b": 3, "c": ' + "[" * depth + "]" * depth + "}"
    vllm.script(tool_call("calc__add", deep), text("Too deep."))
    tool = declare(calculator, require_approval=approval)
    response = mcp_client.responses.create(model="tiny", input="Go", tools=[tool])
    if approval == "always":
        said = {"approval_request_id": response.output[-1].id, "approve": True}
        answer: Any = {"type": "mcp_approval_response", **said}
        response = mcp_client.responses.create(
            model="tiny", input=[answer], tools=[tool], previous_response_id=response.id
        )
    output: list[Any] = response.output
    *_, call, message = output
    assert (response.status, call.type, message.type) == ("completed", "mcp_call", "message")
    assert (call.status, call.arguments) == ("failed", deep)
    told = vllm.requests[-1].body["messages"][-1]
    assert (told["role"], "nested too deeply" in told["content"]) == ("tool", True)
    logged = "SELECT arguments, outcome FROM store_mcpcall WHERE response_id = %s"
    eventually(lambda: mcp_gateway.database.query(logged, response.id) == [(deep, "tool_error")])
    read = mcp_client.responses.retrieve(response.id)
    assert read.output == response.output


def test_private_addresses_are_closed_to_requests_by_default(
    guarded: Any, calculator: OnHttp
) -> None:
    for url in (calculator.url(), f"https://127.0.0.1:{calculator.port}/mcp"):
        body = {"model": "org/one", "input": "Hi", "tools": [declare(calculator, server_url=url)]}
        answer = guarded.ask(guarded.ours, "POST", "/v1/responses", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "tools[0].server_url"
