"""Calls that need the client's approval: asked for, decided, carried out."""

from __future__ import annotations

from typing import Any

import pytest

from apps.api.engine.process import Process
from apps.api.errors import InvalidRequest
from apps.api.protocol.ids import turn_of, unmarked
from apps.tools.base import Verdict
from tests.api.engine.hosted_runs import HostedRuns, UpstreamOfTurns, calls, mcp, output_of, says
from tests.api.engine.tool_twins import ScriptedRuntime, ScriptedSession, function
from tests.api.engine.twins import ScriptedStore, all_events, types, within
from tests.event_streams import check_stream, decoded, official_events

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def twins(store: ScriptedStore, process: Process) -> None:
    """No test here reaches a database."""


@pytest.fixture
def calc() -> ScriptedRuntime:
    functions = [function("add"), function("drop", needs_approval=True)]
    return ScriptedRuntime(ScriptedSession("calc", functions, concurrency=4))


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, calc: ScriptedRuntime) -> HostedRuns:
    return HostedRuns(monkeypatch, {"mcp": calc})


def stream(runs: HostedRuns, upstream: UpstreamOfTurns, **request: Any) -> list[Any]:
    async def scenario() -> list[Any]:
        return await all_events(await runs.make(upstream, tools=[mcp()], **request))

    events = within(scenario())
    check_stream(decoded(events))
    official_events(events)
    return events


def asked(runs: HostedRuns, *more: tuple[str, str]) -> list[Json]:
    """The output of a response that asks for one approval."""
    upstream = UpstreamOfTurns(calls(*more, ("calc__drop", '{"table": 1}')))
    return output_of(stream(runs, upstream))


def answer(request: Json, *, approve: bool, **more: Any) -> Json:
    decision = {"approval_request_id": request["id"], "approve": approve, **more}
    return {"type": "mcp_approval_response", **decision}


def test_a_call_that_needs_approval_is_asked_for_and_not_run(
    runs: HostedRuns, calc: ScriptedRuntime
) -> None:
    _, request = asked(runs)
    assert request == {
        "id": request["id"],
        "type": "mcp_approval_request",
        "server_label": "calc",
        "name": "drop",
        "arguments": '{"table": 1}',
    }
    assert unmarked(request["id"]) == "mcpr_drop-12"
    assert turn_of(request["id"])
    assert calc.session.calls == []


def test_calls_that_need_none_run_beside_it(runs: HostedRuns, calc: ScriptedRuntime) -> None:
    output = asked(runs, ("calc__add", "{}"))
    assert [item["type"] for item in output] == [
        "mcp_list_tools",
        "mcp_call",
        "mcp_approval_request",
    ]
    assert [call.name for call in calc.session.calls] == ["add"]


def test_an_approved_call_runs_before_the_model_speaks(
    runs: HostedRuns, calc: ScriptedRuntime
) -> None:
    past = asked(runs, ("calc__add", "{}"))
    calc.session.calls.clear()
    request = past[-1]
    upstream = UpstreamOfTurns(says("Dropped."))
    events = stream(runs, upstream, past=past, input=[answer(request, approve=True)])
    call, message = output_of(events)
    assert call["approval_request_id"] == request["id"]
    assert (call["status"], call["output"]) == ("completed", "drop of {'table': 1}")
    assert message["content"][0]["text"] == "Dropped."
    assert [done.approval_request_id for done in calc.session.calls] == ["mcpr_drop-12"]
    decided = calc.session.decisions
    assert [(d.request_id, d.name, d.approve) for d in decided] == [("mcpr_drop-12", "drop", True)]
    # The model sees both calls in the one message that it wrote, each with its output.
    messages = upstream.messages(0)
    assert [len(m.get("tool_calls", ())) for m in messages] == [2, 0, 0]
    assert [m["content"] for m in messages[1:]] == ["add of {}", "drop of {'table': 1}"]


def test_what_was_approved_is_not_run_again_when_the_history_comes_back(
    runs: HostedRuns, calc: ScriptedRuntime
) -> None:
    past = asked(runs)
    approval = answer(past[-1], approve=True)
    output = output_of(stream(runs, UpstreamOfTurns(says("Dropped.")), past=past, input=[approval]))
    calc.session.calls.clear()
    upstream = UpstreamOfTurns(says("Yes."))
    stateless = [*past, approval, *output, {"role": "user", "content": "Sure?"}]
    stream(runs, upstream, input=stateless)
    assert calc.session.calls == []
    assert [m["role"] for m in upstream.messages(0)] == ["assistant", "tool", "assistant", "user"]
    assert upstream.messages(0)[1]["content"] == "drop of {'table': 1}"


def test_a_refused_call_is_told_to_the_model(runs: HostedRuns, calc: ScriptedRuntime) -> None:
    past = asked(runs)
    upstream = UpstreamOfTurns(says("All right."))
    refusal = answer(past[-1], approve=False, reason="Never.")
    events = stream(runs, upstream, past=past, input=[refusal])
    assert [item["type"] for item in output_of(events)] == ["message"]
    assert upstream.messages(0)[-1]["content"] == (
        "The user refused this call. Their reason: Never."
    )
    assert calc.session.decisions[0].reason == "Never."


def test_a_request_that_nobody_answers_is_told_as_such(runs: HostedRuns) -> None:
    past = asked(runs)
    upstream = UpstreamOfTurns(says("Well."))
    stream(runs, upstream, past=past, input="Never mind.")
    assert "has not answered" in upstream.messages(0)[1]["content"]


def test_a_forged_approval_is_refused(runs: HostedRuns, calc: ScriptedRuntime) -> None:
    past = asked(runs)
    calc.session.verdict = Verdict.FORGED
    with pytest.raises(InvalidRequest) as caught:
        stream(runs, UpstreamOfTurns(), past=past, input=[answer(past[-1], approve=True)])
    assert caught.value.detail.param == "input[0].approval_request_id"


def test_an_approval_of_nothing_is_refused(runs: HostedRuns) -> None:
    approval = {"type": "mcp_approval_response", "approval_request_id": "mcpr_x", "approve": True}
    with pytest.raises(InvalidRequest) as caught:
        stream(runs, UpstreamOfTurns(), input=[approval])
    assert caught.value.detail.param == "input[0].approval_request_id"


def test_a_function_that_has_changed_is_asked_for_again(
    runs: HostedRuns, calc: ScriptedRuntime
) -> None:
    past = asked(runs)
    calc.session.verdict = Verdict.STALE
    upstream = UpstreamOfTurns()
    events = stream(runs, upstream, past=past, input=[answer(past[-1], approve=True)])
    [request] = output_of(events)
    assert request["type"] == "mcp_approval_request"
    assert types(events)[-1] == "response.completed"
    assert calc.session.calls == []
    assert upstream.attempts == 0


@pytest.mark.parametrize("arguments", ["{broken", "[]"])
def test_broken_arguments_are_nothing_to_approve(
    runs: HostedRuns, calc: ScriptedRuntime, arguments: str
) -> None:
    upstream = UpstreamOfTurns(calls(("calc__drop", arguments)), says("Sorry."))
    output = output_of(stream(runs, upstream))
    assert [item["type"] for item in output] == ["mcp_list_tools", "mcp_call", "message"]
    assert output[1]["status"] == "failed"
    assert calc.session.calls == []
