"""Runs that are ended from outside: by clients that leave, and by the process."""

from __future__ import annotations

import asyncio

import pytest

from apps.api.engine.process import Process
from apps.api.errors import ApiError, Unavailable
from apps.api.protocol.deltas import ReasoningDelta, TextDelta, ToolCallArguments, ToolCallStart
from tests.api.engine.twins import (
    HELLO,
    ScriptedStore,
    ScriptedUpstream,
    all_events,
    in_time,
    make_run,
    response_of,
    settled,
    types,
    until,
    within,
)
from tests.event_streams import check_stream, decoded

DRAINING = Unavailable("Going down.", code="server_error")


@pytest.fixture(autouse=True)
def twins(store: ScriptedStore, process: Process) -> None:
    """No test here reaches a database."""


# --- Clients that leave ---------------------------------------------------------------------------


def test_leaving_before_the_upstream_has_decided_cancels_the_run(
    store: ScriptedStore, process: Process
) -> None:
    async def scenario() -> None:
        upstream = ScriptedUpstream(accept=asyncio.Event())
        waiting = asyncio.create_task(make_run(upstream).start(window=None))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await settled(process)
        assert upstream.cancelled
        assert (store.end.status, store.end.output) == ("cancelled", [])

    within(scenario())


@pytest.mark.parametrize("how", ["closing", "cancelling"])
def test_leaving_in_mid_stream_keeps_what_was_complete(
    store: ScriptedStore, process: Process, how: str
) -> None:
    async def scenario() -> None:
        upstream = ScriptedUpstream(
            [ReasoningDelta("Hm."), TextDelta("A"), ToolCallStart(0, "roll")],
            [ToolCallArguments(0, '{"di')],
            asyncio.Event(),
        )
        run = make_run(upstream)
        await run.start(window=None)
        events = run.events()
        if how == "closing":
            await until(events, "response.function_call_arguments.delta")
            await events.aclose()
        else:
            reading = asyncio.create_task(until(events, "never"))
            await in_time(upstream.turn.waiting)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        await settled(process)
        assert upstream.turn.closed
        assert store.end.status == "cancelled"
        assert [item.kind for item in store.end.output] == ["reasoning", "message", "function_call"]
        states = [b'"status":"incomplete"' in item.json for item in store.end.output]
        assert states == [False, False, True]

    within(scenario())


def test_leaving_while_the_end_is_stored_does_not_change_it(
    store: ScriptedStore, process: Process
) -> None:
    async def scenario() -> None:
        store.hold = asyncio.Event()
        run = make_run(ScriptedUpstream(*HELLO))
        reading = asyncio.create_task(all_events(run))
        await in_time(store.reached)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert process.active
        store.hold.set()
        await settled(process)
        assert (store.names, store.end.status) == (["finish_responses"], "completed")

    within(scenario())


def test_leaving_after_the_end_writes_nothing_more(store: ScriptedStore, process: Process) -> None:
    async def scenario() -> None:
        run = make_run(ScriptedUpstream(*HELLO))
        await run.start(window=None)
        events = run.events()
        await until(events, "response.completed")
        await events.aclose()
        await settled(process)
        assert store.end.status == "completed"

    within(scenario())


def test_the_end_of_a_run_that_was_left_is_given_up_when_the_store_is_away(
    store: ScriptedStore, process: Process
) -> None:
    async def scenario() -> None:
        store.away = True
        run = make_run(ScriptedUpstream([TextDelta("A")], asyncio.Event()))
        await run.start(window=None)
        events = run.events()
        await until(events, "response.output_text.delta")
        await events.aclose()
        await settled(process)
        assert process._unsettled == {"resp_1"}

    within(scenario())


# --- Interruption ---------------------------------------------------------------------------------


def test_interrupting_before_the_upstream_has_decided_is_an_http_error(
    store: ScriptedStore, process: Process
) -> None:
    async def scenario() -> None:
        upstream = ScriptedUpstream(accept=asyncio.Event())
        waiting = asyncio.create_task(make_run(upstream).start(window=None))
        await asyncio.sleep(0)
        process.end_all()
        with pytest.raises(ApiError) as caught:
            await waiting
        assert (caught.value.status, caught.value.code) == (503, "server_error")
        await settled(process)
        assert upstream.cancelled
        assert store.end.status == "failed"

    within(scenario())


def test_interrupting_after_the_headers_and_before_the_upstream_is_a_failed_response(
    store: ScriptedStore,
) -> None:
    async def scenario() -> None:
        upstream = ScriptedUpstream(accept=asyncio.Event())
        run = make_run(upstream)
        await run.start(window=0)
        events = run.events()
        await until(events, "response.created")
        run.interrupt(DRAINING)
        rest = [event async for batch in events for event in batch]
        assert types(rest) == ["error", "response.failed"]
        assert response_of(rest[-1])["error"]["message"] == "Going down."
        assert upstream.cancelled
        assert store.end.status == "failed"

    within(scenario())


def test_interrupting_in_mid_stream_ends_with_a_terminal_event(store: ScriptedStore) -> None:
    async def scenario() -> None:
        upstream = ScriptedUpstream([TextDelta("A")], asyncio.Event())
        run = make_run(upstream)
        reading = asyncio.create_task(all_events(run))
        await in_time(upstream.turn.waiting)
        run.interrupt(DRAINING)
        events = await reading
        check_stream(decoded(events))
        assert types(events)[-1] == "response.failed"
        assert upstream.turn.closed
        assert (store.end.status, store.end.error_code) == ("failed", "server_error")

    within(scenario())


def test_interrupting_a_run_that_nobody_reads_ends_it_at_the_next_read() -> None:
    async def scenario() -> None:
        run = make_run(ScriptedUpstream(*HELLO))
        await run.start(window=None)
        events = run.events()
        await anext(events)  # the upstream has accepted; the client takes its time
        run.interrupt(DRAINING)
        rest = [event async for batch in events for event in batch]
        assert types(rest)[-1] == "response.failed"

    within(scenario())


def test_interrupting_what_has_ended_changes_nothing(store: ScriptedStore) -> None:
    async def scenario() -> None:
        run = make_run(ScriptedUpstream(*HELLO))
        events = await all_events(run)
        run.interrupt(DRAINING)
        assert types(events)[-1] == "response.completed"
        assert store.end.status == "completed"

    within(scenario())
