"""Runs without network and database: how they end, and what they leave behind."""

from __future__ import annotations

import asyncio
from typing import TypeVar

import pytest
from pytest_django import Settings

from apps.api.engine.process import Process
from apps.api.errors import ApiError
from apps.api.protocol.deltas import (
    Delta,
    Finish,
    TextDelta,
    TurnEnd,
)
from apps.api.upstream.errors import UpstreamBroke, UpstreamRefused, UpstreamTimeout
from tests.api.engine.twins import (
    HELLO,
    ScriptedStore,
    ScriptedUpstream,
    all_events,
    collected,
    in_time,
    make_run,
    response_of,
    settled,
    told,
    types,
    until,
    within,
)
from tests.event_streams import check_stream, decoded

T = TypeVar("T")


@pytest.fixture(autouse=True)
def twins(store: ScriptedStore, process: Process) -> None:
    """No test here reaches a database."""


# --- Ends -----------------------------------------------------------------------------------------


def test_the_end_is_stored_before_it_is_announced(store: ScriptedStore, process: Process) -> None:
    async def scenario() -> None:
        run = make_run(ScriptedUpstream(*HELLO))
        await run.start(window=None)
        seen = []
        async for batch in run.events():
            seen += batch
            announced = "response.completed" in types(batch)
            assert bool(store.writes) == announced
        check_stream(decoded(seen))
        assert store.names == ["finish_responses"]
        assert store.end.status == "completed"
        assert process.active == 0

    within(scenario())


def test_the_row_has_what_the_response_has(store: ScriptedStore) -> None:
    end = within(told(ScriptedUpstream(*HELLO)))[-1]
    row, response = store.end, response_of(end)
    assert [item.item_id for item in row.output] == [item["id"] for item in response["output"]]
    assert [item.item_id for item in row.input] == ["msg_in"]
    assert (row.input_tokens, row.output_tokens, row.reasoning_tokens) == (5, 3, 2)
    assert (row.upstream_attempts, row.error_code, row.ended_at is None) == (1, "", False)


@pytest.mark.parametrize(
    ("finish", "reason"),
    [(Finish.LENGTH, "max_output_tokens"), (Finish.CONTENT_FILTER, "content_filter")],
)
def test_a_turn_that_was_cut_by_a_limit_is_incomplete(
    store: ScriptedStore, finish: Finish, reason: str
) -> None:
    steps: list[Delta] = [TextDelta("A"), TurnEnd(finish, None)]
    end = within(told(ScriptedUpstream(steps)))[-1]
    assert end.type == "response.incomplete"
    assert response_of(end)["incomplete_details"] == {"reason": reason}
    assert store.end.status == "incomplete"


@pytest.mark.parametrize(
    ("error", "code", "stage"),
    [
        (UpstreamBroke("cut"), "server_error", "stream"),
        (UpstreamTimeout("silent"), "upstream_timeout", "stream"),
        (UpstreamRefused(503, "no"), "upstream_unavailable", "stream"),
        (ZeroDivisionError("a bug"), "server_error", "gateway"),
    ],
)
def test_whatever_goes_wrong_in_a_turn_fails_the_response(
    store: ScriptedStore, error: Exception, code: str, stage: str
) -> None:
    upstream = ScriptedUpstream([TextDelta("A")], error)
    events = within(told(upstream))
    check_stream(decoded(events))
    assert types(events)[-2:] == ["error", "response.failed"]
    assert response_of(events[-1])["error"]["code"] == code
    row = store.end
    assert (row.status, row.error_code, row.error_stage) == ("failed", code, stage)
    assert upstream.turn.closed


def test_a_bug_tells_clients_nothing_of_itself() -> None:
    upstream = ScriptedUpstream(ZeroDivisionError("secret"))
    assert b"secret" not in within(told(upstream))[-1].json


@pytest.mark.parametrize("trouble", ["away", "lost"])
def test_an_end_that_is_not_stored_is_a_failure(store: ScriptedStore, trouble: str) -> None:
    setattr(store, trouble, True)
    events = within(told(ScriptedUpstream(*HELLO)))
    check_stream(decoded(events))
    assert types(events)[-1] == "response.failed"
    assert response_of(events[-1])["error"]["code"] == "server_error"


def test_an_unkept_response_does_not_wait_for_the_store(
    store: ScriptedStore, process: Process
) -> None:
    async def scenario() -> None:
        store.hold = asyncio.Event()
        events = await all_events(make_run(ScriptedUpstream(*HELLO), kept=False))
        assert types(events)[-1] == "response.completed"
        assert not store.writes
        store.hold.set()
        await settled(process)
        row = store.end
        assert (row.status, row.body, row.input, row.output) == ("completed", b"", (), ())

    within(scenario())


# --- JSON -----------------------------------------------------------------------------------------


def test_collecting_gives_the_response() -> None:
    body = within(collected(ScriptedUpstream(*HELLO)))
    assert b'"status":"completed"' in body
    assert b'"text":"Hello"' in body


@pytest.mark.parametrize("away", [True, False])
def test_collecting_a_failed_response_raises_its_error(store: ScriptedStore, away: bool) -> None:
    store.away = away
    upstream = ScriptedUpstream(*HELLO) if away else ScriptedUpstream(UpstreamBroke("cut"))
    with pytest.raises(ApiError) as caught:
        within(collected(upstream))
    assert (caught.value.status, caught.value.code) == (503 if away else 502, "server_error")


# --- Refusals -------------------------------------------------------------------------------------


def test_a_refusal_is_raised_and_only_operators_see_it(
    store: ScriptedStore, process: Process
) -> None:
    async def scenario() -> None:
        run = make_run(ScriptedUpstream(refusal=UpstreamRefused(429, "Busy.")))
        with pytest.raises(ApiError) as caught:
            await run.start(window=None)
        assert (caught.value.status, caught.value.code) == (429, "rate_limit_exceeded")
        await settled(process)
        row = store.end
        assert (row.status, row.kept, row.error_stage) == ("failed", False, "upstream")
        assert (row.error_code, row.upstream_status) == ("rate_limit_exceeded", 429)

    within(scenario())


def test_a_refusal_of_a_visible_run_fails_the_response(
    store: ScriptedStore, process: Process, settings: Settings
) -> None:
    settings.GATEWAY_VISIBLE_AFTER = 0

    async def scenario() -> None:
        accept = asyncio.Event()
        run = make_run(ScriptedUpstream(accept=accept, refusal=UpstreamRefused(500, "Died.")))
        waiting = asyncio.create_task(run.start(window=None))
        await in_time(store.reached)
        accept.set()
        with pytest.raises(ApiError):
            await waiting
        await settled(process)
        assert store.names == ["begin_response", "finish_responses"]
        assert (store.end.status, store.end.kept) == ("failed", True)
        assert b'"status":"failed"' in store.end.body

    within(scenario())


def test_a_bug_before_the_first_byte_is_an_internal_error(process: Process) -> None:
    async def scenario() -> None:
        run = make_run(ScriptedUpstream(refusal=ZeroDivisionError("a bug")))
        with pytest.raises(ApiError) as caught:
            await run.start(window=None)
        assert caught.value.status == 500
        await settled(process)

    within(scenario())


def test_an_undecided_upstream_is_waited_for_no_longer_than_the_window(
    store: ScriptedStore,
) -> None:
    async def scenario() -> None:
        accept = asyncio.Event()
        run = make_run(ScriptedUpstream(*HELLO, accept=accept))
        await run.start(window=0.01)
        events = run.events()
        assert types(await anext(events)) == ["response.created", "response.in_progress"]
        accept.set()
        rest = [event async for batch in events for event in batch]
        assert types(rest)[-1] == "response.completed"

    within(scenario())


# --- Visibility -----------------------------------------------------------------------------------


def test_a_run_that_lasts_is_written_twice(store: ScriptedStore, settings: Settings) -> None:
    settings.GATEWAY_VISIBLE_AFTER = 0

    async def scenario() -> None:
        go_on = asyncio.Event()
        run = make_run(ScriptedUpstream(go_on, *HELLO))
        reading = asyncio.create_task(all_events(run))
        await in_time(store.reached)
        go_on.set()
        await reading
        assert store.names == ["begin_response", "finish_responses"]
        begun = store.writes[0][1]
        assert (begun.status, begun.output, begun.ended_at) == ("in_progress", (), None)
        assert [item.item_id for item in begun.input] == ["msg_in"]

    within(scenario())


def test_the_first_write_does_not_hold_events_back_but_the_end_waits_for_it(
    store: ScriptedStore, settings: Settings
) -> None:
    settings.GATEWAY_VISIBLE_AFTER = 0

    async def scenario() -> None:
        store.hold, go_on = asyncio.Event(), asyncio.Event()
        run = make_run(ScriptedUpstream(go_on, *HELLO))
        await run.start(window=None)
        events = run.events()
        await in_time(store.reached)
        go_on.set()
        await until(events, "response.output_item.done")
        assert not store.writes
        store.hold.set()
        await until(events, "response.completed")
        assert store.names == ["begin_response", "finish_responses"]

    within(scenario())


def test_a_run_counts_as_active_from_its_start_to_its_end(process: Process) -> None:
    async def scenario() -> None:
        accept = asyncio.Event()
        run = make_run(ScriptedUpstream(*HELLO, accept=accept))
        waiting = asyncio.create_task(run.start(window=None))
        await asyncio.sleep(0)
        assert process.active == 1
        accept.set()
        await waiting
        async for _ in run.events():
            assert process.active >= 1
        assert process.active == 0

    within(scenario())
