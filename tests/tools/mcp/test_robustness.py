"""MCP servers that hang, flood, lie and die: what the model is told, and that others go on."""

from __future__ import annotations

import asyncio
import gc
import gzip
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from pytest_django import Settings

from apps.tools.base import Image, Text, ToolCall, ToolFailure, ToolProgress
from apps.tools.mcp import pool, transports
from apps.tools.mcp.arguments import DEEPEST
from apps.tools.mcp.connection import ClientConnection, McpFailure
from tests.tcp_proxy import TcpProxy
from tests.tools.mcp.servers import OnHttp
from tests.tools.mcp.sessions import (
    Store,
    call,
    declare,
    leaves_out_what_is_odd,
    nested,
    nothing_left,
    play,
    run_info,
    running,
    steps,
    text,
    works,
)
from tests.tools.mcp.wicked import (
    Journal,
    Spoiled,
    SpoiledStream,
    answering,
    drop,
    pour,
    reset,
    silence,
    wicked,
)

SPOILS = {
    "garbage": answering(200, b"<html>not JSON"),
    "no message": answering(200, b'{"hello": 1}'),
    "failing": answering(500, b"the secret of the server", "text/plain"),
    "dropped": drop,
    "reset": reset,
    "poured": pour,
    "packed": answering(200, gzip.compress(b"{}"), encoding="gzip"),
    "endless": answering(200, b": \n" * 1000, "text/event-stream"),
}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    return Store(monkeypatch)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture(params=["streamable_http", "sse"])
def server(request: pytest.FixtureRequest, store: Store, journal: Journal) -> Iterator[OnHttp]:
    """A wicked server which the store knows as ``toys``."""
    made = wicked(journal)
    is_sse = request.param == "sse"
    app = made.sse_app() if is_sse else made.streamable_http_app()
    with OnHttp(app) as http:
        store.add(transport=request.param, url=http.url("/sse" if is_sse else "/mcp"))
        yield http


def test_a_call_gives_text_structure_and_pictures(server: OnHttp) -> None:
    async def scenario() -> None:
        async with running() as runtime, runtime.open(declare(), run_info()) as session:
            assert text(await call(session, "echo", text="hi")) == "hi"
            one, picture = (await call(session, "mixed")).parts
            assert one == Text("one")
            assert isinstance(picture, Image)
            assert picture.media_type == "image/png"
            assert text(await call(session, "structured")) == '{"n": [1, 2]}'

    play(scenario())


def test_a_tool_that_fails_says_so_itself(server: OnHttp) -> None:
    async def scenario() -> None:
        async with running() as runtime, runtime.open(declare(), run_info()) as session:
            failure = (await call(session, "fail")).failure
        assert failure is not None
        assert (failure.kind, failure.message) == ("tool_error", "no luck")

    play(scenario())


def test_arguments_that_do_not_fit_never_reach_the_server(server: OnHttp) -> None:
    async def scenario() -> None:
        async with running() as runtime, runtime.open(declare(), run_info()) as session:
            before = len(server.headers)
            failure = (await call(session, "echo", text=5)).failure
            assert len(server.headers) == before
        assert failure is not None
        assert failure.kind == "tool_error"
        assert "text: 5 is not of type 'string'" in failure.message

    play(scenario())


def test_the_deepest_arguments_are_read_by_the_server(server: OnHttp) -> None:
    async def scenario() -> None:
        async with running() as runtime, runtime.open(declare(), run_info()) as session:
            assert text(await call(session, "echo", text="hi", more=nested(DEEPEST - 1))) == "hi"

    play(scenario())


def test_a_server_that_hangs_is_left_after_its_time_and_others_go_on(
    server: OnHttp, store: Store, journal: Journal
) -> None:
    spec = store.servers["toys"]
    store.add(transport=spec.transport, url=spec.url, call_timeout=0.5)

    async def scenario() -> None:
        async with running() as runtime, runtime.open(declare(), run_info()) as session:
            hanging = asyncio.create_task(call(session, "hang"))
            await journal.until("hang begins")
            await works(runtime)
            failure = (await hanging).failure
            assert failure is not None
            assert failure.kind == "unavailable"
            await journal.until("hang ends")
            await works(runtime)

    play(scenario())


def test_a_call_has_its_time_however_long_the_server_says_nothing(
    server: OnHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transports, "SILENCE", 1.0)

    async def scenario() -> None:
        async with running() as runtime, runtime.open(declare(), run_info()) as session:
            assert text(await call(session, "slow")) == "at last"

    play(scenario())


def test_closing_a_call_cancels_it_at_the_server(server: OnHttp, journal: Journal) -> None:
    async def scenario() -> None:
        async with running() as runtime, runtime.open(declare(), run_info()) as session:
            wanted = ToolCall(id="mcp_1", name="progress", arguments={}, written="{}")
            async with aclosing(session.run(wanted)) as found:
                async for step in found:
                    assert isinstance(step, ToolProgress)
                    break
            await journal.until("progress ends")
            await works(runtime)

    play(scenario())


def test_a_client_who_goes_away_cancels_the_call_at_the_server(
    server: OnHttp, journal: Journal
) -> None:
    async def scenario() -> None:
        async with running() as runtime, runtime.open(declare(), run_info()) as session:
            await works(runtime)
            async with nothing_left():
                calling = asyncio.create_task(call(session, "hang"))
                await journal.until("hang begins")
                calling.cancel()
                await asyncio.wait([calling])
                await journal.until("hang ends")
                await works(runtime)

    play(scenario())


def test_a_client_who_goes_away_while_the_server_is_connected_to_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    entered = asyncio.Event()

    @asynccontextmanager
    async def breaking(made: object) -> AsyncIterator[Any]:
        entered.set()
        try:
            yield await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise anyio.BrokenResourceError from None  # as streams do that others have closed

    async def scenario() -> None:
        async with nothing_left():
            connection = ClientConnection(breaking, label="breaking", connect_timeout=10)
            opening = asyncio.create_task(connection.open())
            await entered.wait()
            opening.cancel()
            await asyncio.wait([opening])
        del connection, opening
        gc.collect()

    play(scenario())
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


def test_the_log_names_the_server_whose_connection_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    @asynccontextmanager
    async def broken(made: object) -> AsyncIterator[Any]:
        if made is not None:
            raise OSError
        yield

    async def scenario() -> None:
        connection = ClientConnection(broken, label="tickets", connect_timeout=10)
        with pytest.raises(McpFailure):
            await connection.open()

    play(scenario())
    (line,) = [r.getMessage() for r in caplog.records if "connection ended" in r.getMessage()]
    assert "tickets" in line


def test_a_long_result_is_cut_with_a_note(server: OnHttp) -> None:
    async def scenario() -> None:
        async with running() as runtime, runtime.open(declare(), run_info()) as session:
            found = text(await call(session, "long"))
        assert found.startswith("x" * 1000)
        assert len(found) < 1100
        assert "cut" in found

    play(scenario())


def test_a_flood_of_notifications_ends_in_an_answer(server: OnHttp) -> None:
    async def scenario() -> None:
        async with running() as runtime, runtime.open(declare(), run_info()) as session:
            *progress, outcome = await steps(session, "flood")
            assert all(isinstance(step, ToolProgress) for step in progress)
            assert progress
            assert text(outcome) == "done"  # type: ignore[arg-type] # the last one
            await works(runtime)

    play(scenario())


def test_an_answer_that_is_too_large_is_a_failure_and_others_are_told_what_came_of_them(
    server: OnHttp, store: Store, journal: Journal
) -> None:
    async def scenario() -> None:
        async with running() as runtime, runtime.open(declare(), run_info()) as session:
            other = asyncio.create_task(call(session, "slow"))
            await journal.until("slow begins")
            assert (await call(session, "huge")).failure is not None
            if store.servers["toys"].transport == "sse":  # one stream has the answers to all calls
                failure = (await other).failure
                assert failure is not None
                assert (failure.kind, failure.message) == (
                    "unavailable",
                    "The connection to the server broke.",
                )
            else:
                assert text(await other) == "at last"
            await works(runtime)

    play(scenario())


def test_a_tool_whose_schema_is_none_is_left_out_and_the_others_stay(server: OnHttp) -> None:
    async def scenario() -> None:
        async with running() as runtime:
            await leaves_out_what_is_odd(runtime)
            await works(runtime)

    play(scenario())


@pytest.mark.parametrize("wish", ["sample", "elicit"])
def test_wishes_of_a_server_are_refused(server: OnHttp, wish: str) -> None:
    async def scenario() -> None:
        async with running() as runtime, runtime.open(declare(), run_info()) as session:
            failure = (await call(session, wish)).failure
            assert failure is not None
            await works(runtime)

    play(scenario())


def test_tools_that_come_with_a_notice_are_there_for_the_next_request(server: OnHttp) -> None:
    async def scenario() -> None:
        async with running() as runtime:
            async with runtime.open(declare(), run_info()) as session:
                assert "grown" not in [function.name for function in session.functions]
                assert text(await call(session, "grow")) == "ok"
            async with asyncio.timeout(10):
                while True:
                    async with runtime.open(declare(), run_info()) as session:
                        if "grown" in [function.name for function in session.functions]:
                            break
            assert text(await call(session, "grown")) == "grown"

    play(scenario())


def test_tools_that_change_without_notice_are_found_out_by_a_call(server: OnHttp) -> None:
    async def scenario() -> None:
        async with running() as runtime:
            async with runtime.open(declare(), run_info()) as session:
                assert text(await call(session, "swap")) == "ok"
                failure = (await call(session, "echo", text="hi")).failure
                assert failure is not None
            async with runtime.open(declare(), run_info()) as session:
                names = [function.name for function in session.functions]
                assert "echo" not in names
                assert text(await call(session, "repeat", text="hi")) == "hi"

    play(scenario())


def test_sessions_of_one_scope_share_a_connection(server: OnHttp, store: Store) -> None:
    async def scenario() -> None:
        async with running() as runtime:
            for _ in range(3):
                await asyncio.gather(*(works(runtime) for _ in range(5)))
            assert runtime.pool.opened == 1
            async with runtime.open(declare(), run_info(project_id=2)) as session:
                assert text(await call(session, "echo", text="hi")) == "hi"
            assert runtime.pool.opened == 2

    play(scenario())


@pytest.mark.parametrize(("scope", "opened"), [("project", 2), ("conversation", 3), ("shared", 1)])
def test_the_operator_says_who_shares_a_connection(
    server: OnHttp, store: Store, scope: str, opened: int
) -> None:
    spec = store.servers["toys"]
    store.add(transport=spec.transport, url=spec.url, session_scope=scope)
    runs = [(1, "resp_1"), (1, "resp_1"), (1, "resp_2"), (2, "resp_3")]

    async def scenario() -> None:
        async with running() as runtime:
            for project, root in runs:
                run = run_info(project_id=project, root_id=root)
                async with runtime.open(declare(), run) as session:
                    assert text(await call(session, "echo", text="hi")) == "hi"
            assert runtime.pool.opened == opened

    play(scenario())


def test_tools_are_listed_anew_by_age(
    server: OnHttp, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = pool._now()
    monkeypatch.setattr(pool, "_now", lambda: now)
    settings.GATEWAY_MCP_TOOLS_SECONDS = 60.0

    async def scenario() -> None:
        nonlocal now
        async with running() as runtime:
            async with runtime.open(declare(), run_info()) as session:
                assert text(await call(session, "swap")) == "ok"
            for age, name in ((59.0, "echo"), (61.0, "repeat")):
                start = now
                now += age
                async with runtime.open(declare(), run_info()) as session:
                    assert name in [function.name for function in session.functions]
                now = start
            assert runtime.pool.opened == 1

    play(scenario())


def test_a_change_of_the_server_opens_anew_and_lets_calls_under_way_end(
    server: OnHttp, store: Store, journal: Journal
) -> None:
    async def scenario() -> None:
        async with running() as runtime, runtime.open(declare(), run_info()) as session:
            hanging = asyncio.create_task(call(session, "hang"))
            await journal.until("hang begins")
            spec = store.servers["toys"]
            store.add(transport=spec.transport, url=spec.url)
            await works(runtime)
            assert not hanging.done()
            hanging.cancel()
            await asyncio.wait([hanging])
            assert runtime.pool.opened == 2

    play(scenario())


@pytest.mark.parametrize("why", ["nobody asks", "switched off", "deleted", "changed"])
def test_a_connection_that_is_no_longer_needed_is_closed(
    server: OnHttp,
    store: Store,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    journal: Journal,
    why: str,
) -> None:
    monkeypatch.setattr(pool, "LOOK", 0.05)

    async def scenario() -> None:
        async with running() as runtime:
            async with runtime.open(declare(), run_info()) as session:
                hanging = asyncio.create_task(call(session, "hang"))
                await journal.until("hang begins")
            spec = store.servers["toys"]
            [entry] = runtime.pool._entries.values()
            connection = entry.connection
            assert isinstance(connection, ClientConnection)
            match why:
                case "nobody asks":
                    settings.GATEWAY_MCP_IDLE_SECONDS = 0.1
                case "switched off":
                    store.add(transport=spec.transport, url=spec.url, enabled=False)
                case "deleted":
                    store.servers.clear()
                case "changed":
                    store.add(transport=spec.transport, url=spec.url)
            await asyncio.sleep(0.5)
            assert not connection.is_open, "nobody new is let in"
            assert not hanging.done(), "a call is under way"
            hanging.cancel()
            assert connection._owner is not None
            await asyncio.wait_for(connection._owner, 10)
            assert runtime.pool._upkeep is not None
            await asyncio.wait_for(runtime.pool._upkeep, 10)

    play(scenario())


# --- Answers that are spoiled on their way ------------------------------------------------------


@pytest.fixture
def spoiled(store: Store, journal: Journal) -> Iterator[Spoiled]:
    made = wicked(journal)
    for name in SPOILS:
        made.add_tool(lambda: "well", name=name)
    app = Spoiled(made.streamable_http_app(), dict(SPOILS))
    with OnHttp(app) as http:
        store.add(url=http.url(), call_timeout=5.0, connect_timeout=5.0)
        yield app


@pytest.mark.parametrize("name", SPOILS)
def test_an_answer_that_is_none_is_a_failure_of_this_call_only(spoiled: Spoiled, name: str) -> None:
    async def scenario() -> None:
        async with running() as runtime, runtime.open(declare(), run_info()) as session:
            other = asyncio.create_task(call(session, "echo", text="hi"))
            failure = (await call(session, name)).failure
            assert failure is not None
            assert "secret" not in failure.message
            assert "html" not in failure.message
            assert text(await other) == "hi"
            await works(runtime)
            assert spoiled.asked.count(name) == 1, "a call is not made twice"

    play(scenario())


@pytest.mark.parametrize("name", ["reset", "silent"])
def test_an_answer_that_does_not_begin_ends_neither_the_session_nor_other_calls(
    spoiled: Spoiled, journal: Journal, store: Store, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transports, "LEEWAY", 0.2)
    spoiled.spoils |= {
        "server/discover": answering(404, b""),  # servers of older protocols hear of ends in words
        "long": reset if name == "reset" else silence,
    }
    store.add(url=store.servers["toys"].url, call_timeout=3.0, connect_timeout=2.0)

    async def scenario() -> None:
        async with running() as runtime, runtime.open(declare(), run_info()) as session:
            failing = asyncio.create_task(call(session, "long"))
            await asyncio.sleep(1.5)
            other = asyncio.create_task(call(session, "hang"))
            await journal.until("hang begins")
            assert (await failing).failure is not None
            await asyncio.sleep(0.7)  # the client has lost its patience, too
            assert not other.done()
            await works(runtime)
            assert (await other).failure == ToolFailure(
                kind="unavailable", message="The server did not answer within 3 seconds."
            )
            assert runtime.pool.opened == 1

    play(scenario())


def test_a_server_that_is_gone_is_connected_to_anew_and_the_call_made_once(
    store: Store, journal: Journal
) -> None:
    async def scenario() -> None:
        async with running() as runtime, runtime.open(declare(), run_info()) as session:
            assert text(await call(session, "echo", text="hi")) == "hi"
            await asyncio.to_thread(proxy.cut)
            failure = (await call(session, "echo", text="hi")).failure
            assert failure is not None
            assert failure.message == "The server cannot be reached."
            await asyncio.to_thread(proxy.mend)
            assert text(await call(session, "echo", text="hi")) == "hi"

    with OnHttp(wicked(journal).streamable_http_app()) as http, TcpProxy(http.url()) as proxy:
        store.add(url=proxy.url, connect_timeout=5.0)
        play(scenario())


@pytest.mark.parametrize("protocol", ["of today", "older"])
def test_tools_are_listed_anew_when_the_server_could_not_tell_of_changes_for_a_while(
    store: Store, journal: Journal, protocol: str
) -> None:
    spoils = {} if protocol == "of today" else {"server/discover": answering(404, b"")}

    async def scenario() -> None:
        async with running() as runtime:
            async with runtime.open(declare(), run_info()) as session:
                assert text(await call(session, "swap")) == "ok"
            await asyncio.to_thread(proxy.cut)
            await asyncio.to_thread(proxy.mend)
            async with asyncio.timeout(10):
                names = ["echo"]
                while "echo" in names:
                    async with runtime.open(declare(), run_info()) as session:
                        names = [function.name for function in session.functions]
                    await asyncio.sleep(0.05)
            assert runtime.pool.opened == 1

    app = Spoiled(wicked(journal).streamable_http_app(), spoils)
    with OnHttp(app) as http, TcpProxy(http.url()) as proxy:
        store.add(url=proxy.url)
        play(scenario())


def test_a_change_while_no_stream_is_there_is_found_when_there_is_one(
    store: Store, journal: Journal
) -> None:
    made, opens = wicked(journal), threading.Event()
    spoiled = Spoiled(made.streamable_http_app(), {"server/discover": answering(404, b"")})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        """Has no stream before it may."""
        if scope.get("method") == "GET":
            await asyncio.to_thread(opens.wait, 20)
        await spoiled(scope, receive, send)

    async def scenario() -> None:
        async def names() -> set[str]:
            async with runtime.open(declare(), run_info()) as session:
                return {function.name for function in session.functions}

        async with running() as runtime, asyncio.timeout(20):
            assert "echo" in await names()
            made.remove_tool("echo")  # nobody is there to be told
            found = await names()
            assert "echo" in found
            opens.set()
            while "echo" in found:
                await asyncio.sleep(0.05)
                found = await names()

    with OnHttp(app) as http:
        store.add(url=http.url())
        play(scenario())


STREAMED = {
    "garbage": b"event: message\ndata: <html>not JSON\n\n",
    "no message": b'event: message\ndata: {"hello": 1}\n\n',
    "unknown": b"event: surprise\ndata: {}\n\n",
    "dropped": b"",
}


@pytest.mark.parametrize("name", STREAMED)
def test_what_is_no_answer_in_a_stream_is_a_failure_of_this_call(
    store: Store, journal: Journal, name: str
) -> None:
    made = wicked(journal)
    made.add_tool(lambda: "well", name=name)

    async def scenario() -> None:
        with OnHttp(SpoiledStream(made.sse_app(), STREAMED)) as http:
            store.add(transport="sse", url=http.url("/sse"), call_timeout=2.0)
            async with running() as runtime, runtime.open(declare(), run_info()) as session:
                failure = (await call(session, name)).failure
                assert failure is not None
                assert "html" not in failure.message
                await works(runtime)
                assert runtime.pool.opened == (2 if name == "dropped" else 1)

    play(scenario())
