"""Calls that the gateway runs itself, between the turns of one response."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from typing import Any

import pytest

from apps import metering
from apps.api.engine import toolbox
from apps.api.engine.process import Process
from apps.api.errors import ApiError, InvalidRequest, Unavailable
from apps.api.protocol.calls import without_dead_calls
from apps.api.protocol.deltas import Finish
from apps.api.upstream.errors import UpstreamRefused
from apps.tools.base import (
    Artifact,
    Image,
    Text,
    ToolCall,
    ToolFailure,
    ToolOutcome,
    ToolRefused,
    ToolUnavailable,
)
from tests.api.engine.hosted_runs import (
    CODE,
    HostedRuns,
    UpstreamOfTurns,
    calls,
    mcp,
    output_of,
    says,
    stored_output,
)
from tests.api.engine.tool_twins import ScriptedRuntime, ScriptedSession, function
from tests.api.engine.twins import ScriptedStore, all_events, in_time, settled, types, until, within
from tests.event_streams import check_stream, decoded, official_events
from tests.web import png

ADD = {"type": "function", "name": "add"}


@pytest.fixture(autouse=True)
def twins(store: ScriptedStore, process: Process) -> None:
    """No test here reaches a database."""


@pytest.fixture
def code() -> ScriptedRuntime:
    return ScriptedRuntime(ScriptedSession("cntr_1", [function("python")]))


@pytest.fixture
def calc() -> ScriptedRuntime:
    functions = [function("add"), function("a.b/c"), function("drop", needs_approval=True)]
    return ScriptedRuntime(ScriptedSession("calc", functions, concurrency=4))


@pytest.fixture
def runs(
    monkeypatch: pytest.MonkeyPatch, code: ScriptedRuntime, calc: ScriptedRuntime
) -> HostedRuns:
    return HostedRuns(monkeypatch, {"code_interpreter": code, "mcp": calc})


def stream(runs: HostedRuns, upstream: UpstreamOfTurns, **request: Any) -> list[Any]:
    """All events of a run; checked."""

    async def scenario() -> list[Any]:
        return await all_events(await runs.make(upstream, **request))

    events = within(scenario())
    check_stream(decoded(events))
    official_events(events)
    return events


# --- Code interpreter -----------------------------------------------------------------------------


def test_calls_are_counted_by_their_tool_and_what_came_of_them(
    runs: HostedRuns, code: ScriptedRuntime
) -> None:
    def number(outcome: str) -> float:
        metering.flush()
        labels = {"kind": "code_interpreter", "outcome": outcome}
        return metering.registry.get_sample_value("gateway_tool_calls_total", labels) or 0

    before = number("ok"), number("tool_error")
    one = ("code_interpreter", '{"code": "1"}')
    stream(runs, UpstreamOfTurns(calls(one, one), says("Done.")), tools=[CODE])
    failure = ToolFailure(kind="tool_error", message="No.")
    code.session.answer = lambda call: ToolOutcome(failure=failure)
    stream(runs, UpstreamOfTurns(calls(one), says("Done.")), tools=[CODE])
    assert (number("ok"), number("tool_error")) == (before[0] + 2, before[1] + 1)


def test_code_is_shown_run_and_told_to_the_model(
    runs: HostedRuns, code: ScriptedRuntime, store: ScriptedStore
) -> None:
    image = Image("image/png", png())
    code.session.answer = lambda call: ToolOutcome(parts=(Text("4\n"), image))
    upstream = UpstreamOfTurns(calls(("code_interpreter", '{"code": "2+2"}')), says("It is 4."))
    events = stream(runs, upstream, tools=[CODE], include=["code_interpreter_call.outputs"])
    url = f"data:image/png;base64,{b64encode(png()).decode()}"
    assert types(events)[2:10] == [
        "response.output_item.added",
        "response.code_interpreter_call.in_progress",
        "response.code_interpreter_call_code.delta",
        "response.code_interpreter_call_code.done",
        "response.code_interpreter_call.interpreting",
        "response.code_interpreter_call.completed",
        "response.output_item.done",
        "response.output_item.added",
    ]
    call, message = output_of(events)
    assert call["code"] == "2+2"
    assert call["container_id"] == "cntr_1"
    assert call["outputs"] == [
        {"type": "logs", "logs": "4\n"},
        {"type": "image", "url": url},
    ]
    assert message["content"][0]["text"] == "It is 4."
    told = upstream.messages(1)[-3:]
    assert told[0]["tool_calls"][0]["function"]["arguments"] == '{"code":"2+2"}'
    assert told[1]["content"] == "4\n[An image was shown to the user.]\n"
    assert told[2]["content"][1]["image_url"]["url"] == url
    assert [call.arguments for call in code.session.calls] == [{"code": "2+2"}]
    assert store.end.turns == 2
    assert store.end.tool_calls == 1


@pytest.mark.parametrize("size", [(0, 10), (100_000, 100_000)])
def test_an_image_that_no_model_server_takes_is_not_shown_to_it(
    runs: HostedRuns, code: ScriptedRuntime, size: tuple[int, int]
) -> None:
    width, height = (number.to_bytes(4, "big") for number in size)
    image = Image("image/png", png()[:16] + width + height + png()[24:])
    code.session.answer = lambda call: ToolOutcome(parts=(image,))
    upstream = UpstreamOfTurns(calls(("code_interpreter", '{"code": "1"}')), says("Done."))
    stream(runs, upstream, tools=[CODE])
    assert upstream.messages(1)[-1]["content"] == "[An image was shown to the user.]\n"


def test_a_model_that_does_not_see_is_told_that_there_was_an_image(
    runs: HostedRuns, code: ScriptedRuntime
) -> None:
    code.session.answer = lambda call: ToolOutcome(parts=(Image("image/png", png()),))
    upstream = UpstreamOfTurns(calls(("code_interpreter", '{"code": "1"}')), says("Done."))
    stream(runs, upstream, tools=[CODE], sees_images=False)
    assert upstream.messages(1)[-1]["content"] == "[An image was shown to the user.]\n"


def test_outputs_are_hidden_unless_asked_for_but_kept(
    runs: HostedRuns, store: ScriptedStore
) -> None:
    upstream = UpstreamOfTurns(calls(("code_interpreter", '{"code": "1"}')), says("Done."))
    events = stream(runs, upstream, tools=[CODE])
    assert output_of(events)[0]["outputs"] is None
    assert stored_output(store.end)[0]["outputs"][0]["type"] == "logs"


@pytest.mark.parametrize("written", ["print(1)", '{"code": "print(1)"}'])
def test_code_without_json_is_taken_as_it_is(
    runs: HostedRuns, code: ScriptedRuntime, written: str
) -> None:
    stream(runs, UpstreamOfTurns(calls(("python", written)), says("Done.")), tools=[CODE])
    assert code.session.calls[0].arguments == {"code": "print(1)"}


def test_calls_of_one_turn_run_in_order_and_are_told_as_one_message(
    runs: HostedRuns, code: ScriptedRuntime
) -> None:
    twice = calls(("code_interpreter", '{"code": "a"}'), ("code_interpreter", '{"code": "b"}'))
    upstream = UpstreamOfTurns(twice, calls(("code_interpreter", '{"code": "c"}')), says("Done."))
    stream(runs, upstream, tools=[CODE])
    assert [call.arguments["code"] for call in code.session.calls] == ["a", "b", "c"]
    assert code.session.most == 1
    roles = [(m["role"], len(m.get("tool_calls", ()))) for m in upstream.messages(2)[1:]]
    assert roles == [("assistant", 2), ("tool", 0), ("tool", 0), ("assistant", 1), ("tool", 0)]


def test_a_sandbox_that_fails_is_an_item_and_the_model_goes_on(
    runs: HostedRuns, code: ScriptedRuntime
) -> None:
    failure = ToolFailure(kind="unavailable", message="The sandbox died.")
    code.session.answer = lambda call: ToolOutcome(failure=failure)
    upstream = UpstreamOfTurns(calls(("code_interpreter", '{"code": "1"}')), says("Sorry."))
    events = stream(runs, upstream, tools=[CODE])
    assert output_of(events)[0]["status"] == "failed"
    assert types(events)[-1] == "response.completed"
    assert upstream.messages(1)[-1]["content"] == "The sandbox died."


def test_links_to_files_become_citations(runs: HostedRuns, code: ScriptedRuntime) -> None:
    old = Artifact(id="cfile_0", container_id="cntr_1", path="/mnt/data/old.csv", size=1)
    new = Artifact(id="cfile_1", container_id="cntr_1", path="/mnt/data/a b.csv", size=1)
    code.session.artifacts = (old,)
    code.session.answer = lambda call: ToolOutcome(artifacts=(new,))
    text = "See [it](sandbox:/mnt/data/a%20b.csv), sandbox:/mnt/data/old.csv. Not sandbox:/x."
    upstream = UpstreamOfTurns(calls(("code_interpreter", '{"code": "1"}')), says(text))
    events = stream(runs, upstream, tools=[CODE])
    annotations = output_of(events)[1]["content"][0]["annotations"]
    assert [(a["file_id"], text[a["start_index"] : a["end_index"]]) for a in annotations] == [
        ("cfile_1", "sandbox:/mnt/data/a%20b.csv"),
        ("cfile_0", "sandbox:/mnt/data/old.csv"),
    ]
    assert types(events).count("response.output_text.annotation.added") == 2


def test_links_are_found_as_models_write_them(runs: HostedRuns, code: ScriptedRuntime) -> None:
    """Most models leave blanks and brackets in names as they are."""
    names = ("a b.csv", "a b.csv.gz", "plan (1).csv", "'q'.txt")
    code.session.artifacts = tuple(
        Artifact(id=f"cfile_{n}", container_id="cntr_1", path=f"/mnt/data/{name}", size=1)
        for n, name in enumerate(names)
    )
    links = [f"sandbox:/mnt/data/{name}" for name in (names[2], names[1], names[0], names[3])]
    others = "[x](sandbox:/mnt/data/a b.csvx) [y](sandbox:/mnt/data/a b.csv.bz2)"
    text = f"{others} [p]({links[0]}) [g]({links[1]}), [a]({links[2]}). {links[3]}"
    upstream = UpstreamOfTurns(calls(("code_interpreter", '{"code": "1"}')), says(text))
    annotations = output_of(stream(runs, upstream, tools=[CODE]))[1]["content"][0]["annotations"]
    assert [text[a["start_index"] : a["end_index"]] for a in annotations] == links
    assert [a["filename"] for a in annotations] == [link.split("/")[-1] for link in links]


# --- MCP ------------------------------------------------------------------------------------------


def test_tools_are_listed_first_and_not_again(runs: HostedRuns) -> None:
    upstream = UpstreamOfTurns(says("Hi."))
    events = stream(runs, upstream, tools=[mcp()])
    assert types(events)[2:6] == [
        "response.output_item.added",
        "response.mcp_list_tools.in_progress",
        "response.mcp_list_tools.completed",
        "response.output_item.done",
    ]
    listed = output_of(events)[0]
    assert [tool["name"] for tool in listed["tools"]] == ["add", "a.b/c", "drop"]
    assert upstream.offered(0) == ["calc__add", "calc__a_b_c", "calc__drop"]
    again = stream(runs, UpstreamOfTurns(says("Hi.")), tools=[mcp()], past=[listed])
    assert [item["type"] for item in output_of(again)] == ["message"]


def test_a_call_has_its_output_and_independent_ones_run_side_by_side(
    runs: HostedRuns, calc: ScriptedRuntime
) -> None:
    twice = calls(("calc__add", '{"a": 1}'), ("calc__a_b_c", "{}"))
    upstream = UpstreamOfTurns(twice, says("Done."))

    async def scenario() -> list[Any]:
        calc.session.hold = asyncio.Event()
        run = await runs.make(upstream, tools=[mcp()])
        task = asyncio.create_task(all_events(run))
        while calc.session.running < 2:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)
        calc.session.hold.set()
        return await task

    events = within(scenario())
    check_stream(decoded(events))
    official_events(events)
    _, one, two, _ = output_of(events)
    assert (one["name"], one["output"], one["error"]) == ("add", "add of {'a': 1}", None)
    assert (two["name"], two["status"]) == ("a.b/c", "completed")
    first = [e["type"] for e in decoded(events) if e.get("item_id") == one["id"]]
    assert first == [
        "response.mcp_call.in_progress",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.mcp_call.completed",
    ]


@pytest.mark.parametrize("sees", [True, False])
def test_images_are_shown_to_models_that_see(
    runs: HostedRuns, calc: ScriptedRuntime, *, sees: bool
) -> None:
    calc.session.answer = lambda call: ToolOutcome(parts=(Text("A cat:"), Image("image/png", b"x")))
    upstream = UpstreamOfTurns(calls(("calc__add", "{}")), says("Nice."))
    output = output_of(stream(runs, upstream, tools=[mcp()], sees_images=sees))
    assert output[1]["output"] == "A cat:\n[image]"
    assert "images" not in output[1]
    told = upstream.messages(1)
    assert told[2]["content"] == "A cat:\n[image]"
    assert [m["role"] for m in told[3:]] == (["user"] if sees else [])


@pytest.mark.parametrize("arguments", ["{broken", "[1]", '"text"'])
def test_arguments_that_are_no_object_never_reach_the_tool(
    runs: HostedRuns, calc: ScriptedRuntime, arguments: str
) -> None:
    upstream = UpstreamOfTurns(calls(("calc__add", arguments)), says("Sorry."))
    call = output_of(stream(runs, upstream, tools=[mcp()]))[1]
    assert call["status"] == "failed"
    assert call["error"]["type"] == "mcp_tool_execution_error"
    assert "JSON" in upstream.messages(1)[-1]["content"]
    assert calc.session.calls == []


def test_a_tool_that_raises_is_an_item_and_the_model_goes_on(
    runs: HostedRuns, calc: ScriptedRuntime
) -> None:
    def broken(call: ToolCall) -> ToolOutcome:
        raise RuntimeError("secret")

    calc.session.answer = broken
    upstream = UpstreamOfTurns(calls(("calc__add", "{}")), says("Sorry."))
    events = stream(runs, upstream, tools=[mcp()])
    assert "secret" not in str(output_of(events))
    assert output_of(events)[1]["error"]["type"] == "http_error"


def test_calls_of_the_client_end_the_response_after_ours_have_run(
    runs: HostedRuns, calc: ScriptedRuntime
) -> None:
    upstream = UpstreamOfTurns(calls(("calc__add", "{}"), ("add", '{"b": 2}')))
    output = output_of(stream(runs, upstream, tools=[mcp(), ADD]))
    assert [item["type"] for item in output] == ["mcp_list_tools", "mcp_call", "function_call"]
    assert output[1]["status"] == "completed"
    answer = {"type": "function_call_output", "call_id": output[2]["call_id"], "output": "7"}
    follow = UpstreamOfTurns(says("Done."))
    stream(runs, follow, tools=[mcp(), ADD], past=output, input=[answer])
    roles = [(m["role"], len(m.get("tool_calls", ()))) for m in follow.messages(0)]
    assert roles == [("assistant", 2), ("tool", 0), ("tool", 0)]


# --- Limits ---------------------------------------------------------------------------------------


def test_calls_over_the_limit_are_not_run_and_no_more_are_offered(
    runs: HostedRuns, code: ScriptedRuntime
) -> None:
    upstream = UpstreamOfTurns(
        calls(("code_interpreter", '{"code": "a"}'), ("code_interpreter", '{"code": "b"}')),
        says("Done."),
    )
    output = output_of(stream(runs, upstream, tools=[CODE], max_tool_calls=1))
    assert [item["type"] for item in output] == ["code_interpreter_call", "message"]
    assert len(code.session.calls) == 1
    assert upstream.offered(1) == []


def test_a_model_that_calls_for_ever_is_stopped(runs: HostedRuns, code: ScriptedRuntime) -> None:
    endless = [calls(("code_interpreter", '{"code": "a"}')) for _ in range(20)]
    upstream = UpstreamOfTurns(*endless)
    events = stream(runs, upstream, tools=[CODE])
    assert types(events)[-1] == "response.completed"
    assert upstream.attempts == 6
    assert len(code.session.calls) == 5


def test_the_limit_of_tokens_holds_over_all_turns(runs: HostedRuns) -> None:
    turn = calls(("code_interpreter", '{"code": "a"}'))
    upstream = UpstreamOfTurns(turn, turn, turn)
    events = stream(runs, upstream, tools=[CODE], max_output_tokens=6)
    assert [context.max_output_tokens for context in upstream.contexts] == [6, 3]
    assert types(events)[-1] == "response.incomplete"


def test_a_call_that_a_limit_cut_is_never_run(runs: HostedRuns, code: ScriptedRuntime) -> None:
    upstream = UpstreamOfTurns(calls(("code_interpreter", '{"code": "rm'), finish=Finish.LENGTH))
    events = stream(runs, upstream, tools=[CODE])
    assert types(events)[-1] == "response.incomplete"
    assert output_of(events)[0]["status"] == "incomplete"
    assert code.session.calls == []


@pytest.mark.parametrize(
    "written",
    ['{"code": "d = load()\\nd.drop("a")"}', '{"code": "rm(\'/mnt/data\')  # \\"old'],
    ids=["a quote that is not escaped", "no end"],
)
def test_code_of_which_a_part_is_missing_is_not_run(
    runs: HostedRuns, code: ScriptedRuntime, written: str
) -> None:
    upstream = UpstreamOfTurns(calls(("code_interpreter", written)), says("Once more."))
    events = stream(runs, upstream, tools=[CODE], include=["code_interpreter_call.outputs"])
    assert code.session.calls == []
    [output] = output_of(events)[0]["outputs"]
    assert "not valid JSON" in output["logs"]
    assert "not valid JSON" in upstream.messages(1)[-1]["content"]


def test_code_may_have_line_breaks_that_are_not_escaped(
    runs: HostedRuns, code: ScriptedRuntime
) -> None:
    upstream = UpstreamOfTurns(calls(("code_interpreter", '{"code": "a = 1\na"}')), says("1"))
    stream(runs, upstream, tools=[CODE])
    assert [call.arguments for call in code.session.calls] == [{"code": "a = 1\na"}]


def test_a_forced_tool_is_forced_once(runs: HostedRuns) -> None:
    upstream = UpstreamOfTurns(calls(("code_interpreter", '{"code": "a"}')), says("Done."))
    stream(runs, upstream, tools=[CODE], tool_choice={"type": "code_interpreter"})
    assert [context.offers.mode for context in upstream.contexts] == ["forced", "auto"]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "mcp", "server_label": "calc"}, ["calc__add", "calc__a_b_c", "calc__drop"]),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "code_interpreter"}]},
            ["code_interpreter"],
        ),
        (
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "mcp", "server_label": "calc", "name": "add"}],
            },
            ["calc__add"],
        ),
        ("none", []),
    ],
)
def test_choices_limit_hosted_tools(runs: HostedRuns, choice: Any, expected: list[str]) -> None:
    upstream = UpstreamOfTurns(says("Hi."))
    stream(runs, upstream, tools=[mcp(), CODE], tool_choice=choice)
    assert upstream.offered(0) == expected


def test_names_of_client_functions_are_never_taken(runs: HostedRuns) -> None:
    upstream = UpstreamOfTurns(says("Hi."))
    mine = [{"type": "function", "name": name} for name in ("code_interpreter", "calc__add")]
    stream(runs, upstream, tools=[CODE, mcp(), *mine])
    names = upstream.offered(0)
    assert names[:2] == ["code_interpreter", "calc__add"]
    assert len(set(names)) == len(names) == 6


# --- Ends -----------------------------------------------------------------------------------------


def test_a_client_that_leaves_cancels_the_call(
    runs: HostedRuns, code: ScriptedRuntime, store: ScriptedStore, process: Process
) -> None:
    async def scenario() -> None:
        code.session.hold = asyncio.Event()
        upstream = UpstreamOfTurns(calls(("code_interpreter", '{"code": "a"}')))
        run = await runs.make(upstream, tools=[CODE])
        await run.start(window=None)
        events = run.events()
        await until(events, "response.code_interpreter_call.interpreting")
        await in_time(code.session.started)
        await events.aclose()
        await settled(process)
        assert code.session.cancelled == 1
        assert code.open_sessions == 0
        assert store.end.status == "cancelled"

    within(scenario())


@pytest.mark.parametrize(
    ("tool", "name", "arguments"),
    [(CODE, "code_interpreter", '{"code":"a"}'), (mcp(), "calc__add", '{"a": 1}')],
    ids=["code", "mcp"],
)
def test_the_model_is_told_of_calls_that_were_interrupted(
    runs: HostedRuns,
    code: ScriptedRuntime,
    calc: ScriptedRuntime,
    store: ScriptedStore,
    process: Process,
    tool: dict[str, Any],
    name: str,
    arguments: str,
) -> None:
    async def interrupted() -> None:
        session = code.session if tool is CODE else calc.session
        session.hold = asyncio.Event()
        run = await runs.make(UpstreamOfTurns(calls((name, arguments))), tools=[tool])
        client = asyncio.create_task(run.collect())
        await in_time(session.started)
        client.cancel()
        await asyncio.wait({client})
        await settled(process)

    within(interrupted())
    past = without_dead_calls(stored_output(store.end), frozenset(), completed=False)
    assert [item["status"] for item in past if item["type"].endswith("_call")] == ["incomplete"]
    upstream = UpstreamOfTurns(says("I do not know."))
    stream(runs, upstream, past=past, tools=[tool])
    *_, called, answered, _ = upstream.messages(0)
    assert called["tool_calls"][0]["function"] == {"name": name, "arguments": arguments}
    assert "not known" in answered["content"]


def test_a_request_whose_calls_ran_is_not_to_be_made_again(
    runs: HostedRuns, calc: ScriptedRuntime
) -> None:
    async def error_of(*turns: Any) -> ApiError:
        with pytest.raises(ApiError) as caught:
            await (await runs.make(UpstreamOfTurns(*turns), tools=[mcp()])).collect()
        return caught.value

    busy = UpstreamRefused(503, "Busy.")
    error = within(error_of(calls(("calc__add", "{}")), busy))
    assert (error.status, error.headers) == (503, {"X-Should-Retry": "false"})
    assert "Retry-After" in within(error_of(busy)).headers


def test_nobody_waits_for_tools_to_part(
    runs: HostedRuns, calc: ScriptedRuntime, process: Process
) -> None:
    async def scenario() -> None:
        calc.parting = asyncio.Event()
        events = await all_events(await runs.make(UpstreamOfTurns(says("Hi.")), tools=[mcp()]))
        assert types(events)[-1] == "response.completed"
        assert calc.open_sessions == 1
        calc.parting.set()
        await settled(process)
        assert calc.open_sessions == 0

    within(scenario())


def test_a_refusal_does_not_wait_for_tools_to_part(
    runs: HostedRuns, calc: ScriptedRuntime, store: ScriptedStore, process: Process
) -> None:
    async def scenario() -> None:
        calc.parting = asyncio.Event()
        upstream = UpstreamOfTurns(refusal=UpstreamRefused(429, "Busy."))
        run = await runs.make(upstream, tools=[mcp()])
        with pytest.raises(ApiError):
            await run.start(window=None)
        calc.parting.set()
        await settled(process)
        assert (store.end.status, calc.open_sessions) == ("failed", 0)

    within(scenario())


def test_tools_that_are_not_ready_in_time_are_refused(
    runs: HostedRuns, code: ScriptedRuntime, calc: ScriptedRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toolbox, "OPENING", 0.05)
    calc.arriving = asyncio.Event()
    with pytest.raises(InvalidRequest) as caught:
        within(runs.make(UpstreamOfTurns(says("Hi.")), tools=[CODE, mcp()]))
    assert caught.value.param == "tools"
    assert (code.open_sessions, calc.open_sessions) == (0, 0)


def test_a_process_that_ends_tells_it_while_a_call_runs(
    runs: HostedRuns, code: ScriptedRuntime, process: Process
) -> None:
    async def scenario() -> list[Any]:
        code.session.hold = asyncio.Event()
        upstream = UpstreamOfTurns(calls(("code_interpreter", '{"code": "a"}')))
        run = await runs.make(upstream, tools=[CODE])
        task = asyncio.create_task(all_events(run))
        await in_time(code.session.started)
        run.interrupt(Unavailable("Going away.", code="server_error"))
        return await task

    events = within(scenario())
    check_stream(decoded(events))
    assert types(events)[-1] == "response.failed"
    assert code.open_sessions == 0


def test_sessions_are_closed_at_the_end(runs: HostedRuns, code: ScriptedRuntime) -> None:
    stream(runs, UpstreamOfTurns(says("Hi.")), tools=[CODE])
    assert code.open_sessions == 0


@pytest.mark.parametrize(
    ("refusal", "status", "param"),
    [
        (ToolRefused("No such server.", param="server_label"), 400, "tools[1].server_label"),
        (ToolUnavailable("Start it."), 503, None),
    ],
)
def test_a_tool_that_cannot_be_offered_is_told_before_the_first_byte(
    runs: HostedRuns,
    code: ScriptedRuntime,
    calc: ScriptedRuntime,
    refusal: Exception,
    status: int,
    param: str | None,
) -> None:
    calc.refusal = refusal
    with pytest.raises((InvalidRequest, Unavailable)) as caught:
        within(runs.make(UpstreamOfTurns(), tools=[CODE, mcp()]))
    assert (caught.value.status, caught.value.detail.param) == (status, param)
    assert code.open_sessions == 0


def test_a_tool_that_is_switched_off_is_refused_by_name(
    runs: HostedRuns, code: ScriptedRuntime
) -> None:
    code.offered = False
    with pytest.raises(InvalidRequest) as caught:
        within(runs.make(UpstreamOfTurns(), tools=[CODE]))
    assert caught.value.detail.param == "tools[0].type"
