"""stdio servers in the tool host: one process per machine, which others' troubles do not touch."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, closing, suppress
from pathlib import Path

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from pytest_django import Settings

from apps.tools.base import ToolCall, ToolFailure, ToolOutcome, ToolProgress, ToolRefused
from apps.tools.host import socket_path
from apps.tools.mcp import hosted, programs
from apps.tools.mcp.arguments import DEEPEST
from apps.tools.mcp.hosted import McpService
from apps.tools.mcp.programs import log_of
from apps.tools.mcp.runtime import McpRuntime
from tests.programs import ROOT, eventually
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
from tests.tools.mcp.wicked import Journal, program
from tests.tools.services import hosting


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture(autouse=True)
def store(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Settings, journal: Journal
) -> Store:
    """Knows a wicked program as ``toys``."""
    settings.DATA_DIR = tmp_path
    made = Store(monkeypatch)
    made.add(**program(journal))
    return made


@asynccontextmanager
async def machine() -> AsyncIterator[McpRuntime]:
    """A server process, and the tool host beside it."""
    async with hosting(socket_path(), [McpService()]), running() as runtime:
        yield runtime


@asynccontextmanager
async def fragile_machine(folder: Path) -> AsyncIterator[tuple[McpRuntime, Callable[[], None]]]:
    """A server process whose way to the tool host can be cut, as if the host had been killed and
    another one were there at once."""
    place, writers = folder / "host.sock", set[asyncio.StreamWriter]()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError), closing(writer):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, host = await asyncio.open_unix_connection(str(place))
        writers.update((writer, host))
        await asyncio.gather(copy(reader, host), copy(answers, writer))

    def cut() -> None:
        for writer in writers:
            writer.close()

    async with hosting(place, [McpService()]), running() as runtime:
        server = await asyncio.start_unix_server(serve, str(socket_path()))
        yield runtime, cut
        server.close()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def process(runtime: McpRuntime, *, project: int = 1, root: str = "resp_1") -> int:
    """The number of the program that a request speaks to."""
    async with runtime.open(declare(), run_info(project_id=project, root_id=root)) as session:
        return int(text(await call(session, "process")))


async def ended(pid: int) -> None:
    await asyncio.to_thread(eventually, lambda: not is_alive(pid), what="the program's end")


@pytest.mark.parametrize(("scope", "count"), [("project", 2), ("conversation", 3), ("shared", 1)])
def test_the_operator_says_who_shares_a_program_whatever_process_asks(
    store: Store, journal: Journal, scope: str, count: int
) -> None:
    store.add(**program(journal), session_scope=scope)

    async def scenario() -> None:
        async with machine() as runtime, running() as other:
            pids = {
                await process(made, project=project, root=root)
                for made in (runtime, other)
                for project, root in ((1, "resp_1"), (1, "resp_2"), (2, "resp_3"))
            }
            assert len(pids) == count
        for pid in pids:
            await ended(pid)

    play(scenario())


def test_a_conversations_program_is_its_own(store: Store, journal: Journal) -> None:
    store.add(**program(journal), session_scope="conversation")

    async def scenario() -> None:
        async with machine() as runtime:
            async with runtime.open(declare(), run_info()) as session:
                assert text(await call(session, "swap")) == "ok"
                assert (await call(session, "die")).failure is not None
            async with runtime.open(declare(), run_info(root_id="resp_2")) as session:
                assert text(await call(session, "echo", text="hi")) == "hi"

    play(scenario())


def test_of_many_programs_those_make_room_that_nobody_uses(
    store: Store, settings: Settings, journal: Journal
) -> None:
    settings.GATEWAY_MCP_PROGRAMS = 2
    store.add(**program(journal), session_scope="conversation")

    async def scenario() -> None:
        async with machine() as runtime:
            async with runtime.open(declare(), run_info(root_id="resp_1")) as session:
                busy = int(text(await call(session, "process")))
                hanging = asyncio.create_task(call(session, "hang"))
                await journal.until("hang begins")
            idle = await process(runtime, root="resp_2")
            assert await process(runtime, root="resp_3") not in (busy, idle)
            await ended(idle)
            assert is_alive(busy)
            assert not hanging.done()
            hanging.cancel()

    play(scenario())


def test_a_server_whose_programs_are_all_in_use_is_refused_in_words_and_is_no_broken_one(
    store: Store, settings: Settings, journal: Journal
) -> None:
    settings.GATEWAY_MCP_PROGRAMS = 1
    store.add(**program(journal), session_scope="conversation")

    async def scenario() -> None:
        async with machine() as runtime:
            async with runtime.open(declare(), run_info()) as session:
                hanging = asyncio.create_task(call(session, "hang"))
                await journal.until("hang begins")
                for _ in range(10):
                    with pytest.raises(ToolRefused, match="Every program of this server is in use"):
                        await process(runtime, root="resp_2")
                assert not hanging.done()
                hanging.cancel()
            async with asyncio.timeout(20):
                while True:
                    with suppress(ToolRefused):  # the host hears of the end a little later
                        assert await process(runtime, root="resp_2")
                        break
                    await asyncio.sleep(0.1)
        assert not store.writes("record_failure")
        assert not store.writes("record_breaker")

    play(scenario())


def test_a_program_sees_no_environment_but_its_own_and_its_complaints_are_kept(
    store: Store, journal: Journal
) -> None:
    store.add(**program(journal), env={"LISTED": "1"})

    async def scenario() -> None:
        async with machine() as runtime, runtime.open(declare(), run_info()) as session:
            names = set(text(await call(session, "environment")).split())
        assert "LISTED" in names
        assert names <= {"LISTED", "LC_CTYPE"}  # the latter Python itself sets
        assert "looking around" in log_of("toys").read_text()

    play(scenario())


def test_the_deepest_arguments_are_read_by_the_program() -> None:
    async def scenario() -> None:
        async with machine() as runtime, runtime.open(declare(), run_info()) as session:
            assert text(await call(session, "echo", text="hi", more=nested(DEEPEST - 1))) == "hi"

    play(scenario())


def test_a_program_that_dies_in_a_call_is_started_again() -> None:
    async def scenario() -> None:
        async with machine() as runtime:
            async with runtime.open(declare(), run_info()) as session:
                failure = (await call(session, "die")).failure
                assert failure is not None
                assert failure.kind == "unavailable"
                assert text(await call(session, "echo", text="hi")) == "hi"
            await works(runtime)

    play(scenario())


def test_a_call_is_not_made_again_when_the_host_goes_away_in_the_middle(
    journal: Journal, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with (
            fragile_machine(tmp_path) as (runtime, cut),
            runtime.open(declare(), run_info()) as session,
        ):
            calling = asyncio.create_task(call(session, "hang"))
            await journal.until("hang begins")
            cut()
            assert (await calling).failure == ToolFailure(
                kind="unavailable", message="The tool host ended in the middle of a call."
            )
            await works(runtime)
        assert journal.count("hang begins") == 1

    play(scenario())


def test_a_program_that_was_killed_between_calls_is_started_again() -> None:
    async def scenario() -> None:
        async with machine() as runtime, runtime.open(declare(), run_info()) as session:
            pid = int(text(await call(session, "process")))
            os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(eventually, lambda: not is_alive(pid))
            await works(runtime)

    play(scenario())


def test_a_call_has_its_time_however_long_its_program_takes_to_start(
    store: Store, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosted, "LEEWAY", 0.0)
    fields = program(journal)
    slowly = ("-c", 'test -e "$0" && sleep 2.5; exec "$@"', str(journal.path), fields["command"])
    fields |= {"command": "/bin/sh", "args": (*slowly, *fields["args"])}
    store.add(**fields, connect_timeout=30.0, call_timeout=2.0)

    async def scenario() -> None:
        async with machine() as runtime, runtime.open(declare(), run_info()) as session:
            pid = int(text(await call(session, "process")))
            journal.note("from now on it takes longer")
            os.kill(pid, signal.SIGKILL)
            await ended(pid)
            assert text(await call(session, "echo", text="hi")) == "hi"

    play(scenario())


def test_words_that_are_no_messages_are_skipped() -> None:
    async def scenario() -> None:
        async with machine() as runtime, runtime.open(declare(), run_info()) as session:
            assert text(await call(session, "babble")) == "said"
            await works(runtime)

    play(scenario())


@pytest.mark.parametrize(
    ("tool", "kind"), [("garble", "unavailable"), ("misshape", "protocol_error")]
)
def test_an_answer_that_is_none_is_a_failure_of_this_call_only(
    store: Store, journal: Journal, tool: str, kind: str
) -> None:
    store.add(**program(journal), call_timeout=3.0)

    async def scenario() -> None:
        async with machine() as runtime, runtime.open(declare(), run_info()) as session:
            failing = asyncio.create_task(call(session, tool))
            await works(runtime)
            failure = (await failing).failure
            assert failure is not None
            assert failure.kind == kind
            assert "hello" not in failure.message
            await works(runtime)

    play(scenario())


@pytest.mark.parametrize("id_comes", ["first", "last"])
def test_a_line_that_is_too_long_is_the_failure_of_one_call(
    journal: Journal, id_comes: str
) -> None:
    async def scenario() -> None:
        async with machine() as runtime, runtime.open(declare(), run_info()) as session:
            pid = text(await call(session, "process"))
            other = asyncio.create_task(call(session, "slow"))
            await journal.until("slow begins")
            name = "huge" if id_comes == "first" else "huge_backwards"
            failure = (await call(session, name)).failure
            assert failure is not None
            assert failure.kind == "protocol_error"
            assert "too large" in failure.message
            assert text(await other) == "at last"
            assert text(await call(session, "process")) == pid

    play(scenario())


def test_a_line_that_answers_nothing_ends_the_program_and_it_is_started_again() -> None:
    async def scenario() -> None:
        async with machine() as runtime, runtime.open(declare(), run_info()) as session:
            failure = (await call(session, "roar")).failure
            assert failure is not None
            await works(runtime)

    play(scenario())


def test_a_program_that_hangs_is_left_after_its_time_and_others_go_on(
    store: Store, journal: Journal
) -> None:
    store.add(**program(journal), call_timeout=1.0)

    async def scenario() -> None:
        async with machine() as runtime, runtime.open(declare(), run_info()) as session:
            hanging = asyncio.create_task(call(session, "hang"))
            await journal.until("hang begins")
            await works(runtime)
            failure = (await hanging).failure
            assert failure is not None
            assert failure.kind == "unavailable"
            await journal.until("hang ends")

    play(scenario())


def test_closing_a_call_cancels_it_in_the_program(journal: Journal) -> None:
    async def scenario() -> None:
        async with machine() as runtime, runtime.open(declare(), run_info()) as session:
            wanted = ToolCall(id="mcp_1", name="progress", arguments={}, written="{}")
            async with aclosing(session.run(wanted)) as found:
                async for step in found:
                    assert isinstance(step, ToolProgress)
                    break
            await journal.until("progress ends")
            await works(runtime)

    play(scenario())


def test_a_client_who_goes_away_cancels_the_call_in_the_program(journal: Journal) -> None:
    async def scenario() -> None:
        async with machine() as runtime, runtime.open(declare(), run_info()) as session:
            await works(runtime)
            async with nothing_left():
                calling = asyncio.create_task(call(session, "hang"))
                await journal.until("hang begins")
                calling.cancel()
                await asyncio.wait([calling])
                await journal.until("hang ends")
                await works(runtime)

    play(scenario())


def test_a_program_is_told_of_the_callers_trace() -> None:
    parent = SpanContext(trace_id=0xA1, span_id=0xB2, is_remote=False, trace_flags=TraceFlags(1))

    async def scenario() -> None:
        async with machine() as runtime, runtime.open(declare(), run_info()) as session:
            assert text(await call(session, "trace")) == "None"
            with use_span(NonRecordingSpan(parent)):
                told = text(await call(session, "trace"))
            assert told == f"00-{0xA1:032x}-{0xB2:016x}-01"

    play(scenario())


def test_a_flood_of_notifications_ends_in_an_answer() -> None:
    async def scenario() -> None:
        async with machine() as runtime, runtime.open(declare(), run_info()) as session:
            *progress, outcome = await steps(session, "flood")
            assert progress
            assert all(isinstance(step, ToolProgress) for step in progress)
            assert isinstance(outcome, ToolOutcome)
            assert text(outcome) == "done"
            await works(runtime)

    play(scenario())


def test_a_tool_whose_schema_is_none_is_left_out_and_the_others_stay() -> None:
    async def scenario() -> None:
        async with machine() as runtime:
            await leaves_out_what_is_odd(runtime)
            await works(runtime)

    play(scenario())


@pytest.mark.parametrize("wish", ["sample", "elicit"])
def test_wishes_of_a_program_are_refused(wish: str) -> None:
    async def scenario() -> None:
        async with machine() as runtime, runtime.open(declare(), run_info()) as session:
            assert (await call(session, wish)).failure is not None
            await works(runtime)

    play(scenario())


def test_tools_that_change_between_list_and_call_are_found_out() -> None:
    async def scenario() -> None:
        async with machine() as runtime:
            async with runtime.open(declare(), run_info()) as session:
                assert text(await call(session, "swap")) == "ok"
                assert (await call(session, "echo", text="hi")).failure is not None
            async with runtime.open(declare(), run_info()) as session:
                assert "echo" not in [function.name for function in session.functions]
                assert text(await call(session, "repeat", text="hi")) == "hi"

    play(scenario())


def test_tools_that_come_with_a_notice_are_there_for_the_next_request_of_every_process() -> None:
    async def scenario() -> None:
        async with (
            machine() as runtime,
            running() as other,
            other.open(declare(), run_info()) as session,
        ):
            async with runtime.open(declare(), run_info()) as growing:
                assert text(await call(growing, "grow")) == "ok"
            async with runtime.open(declare(), run_info()) as anew:
                assert text(await call(anew, "grown")) == "grown"
            assert text(await call(session, "echo", text="hi")) == "hi"
            async with other.open(declare(), run_info()) as anew:
                assert text(await call(anew, "grown")) == "grown"

    play(scenario())


def test_a_change_of_the_server_starts_another_program(store: Store, journal: Journal) -> None:
    async def scenario() -> None:
        async with machine() as runtime:
            async with runtime.open(declare(), run_info()) as session:
                first = int(text(await call(session, "process")))
            store.add(**program(journal))
            async with runtime.open(declare(), run_info()) as session:
                assert int(text(await call(session, "process"))) != first
            await asyncio.to_thread(eventually, lambda: not is_alive(first))

    play(scenario())


def test_a_program_that_will_not_end_is_killed(store: Store, journal: Journal) -> None:
    async def scenario() -> None:
        async with machine() as runtime:
            async with runtime.open(declare(), run_info()) as session:
                pid = int(text(await call(session, "stay")))
            store.add(**program(journal))
            await works(runtime)
            await ended(pid)

    play(scenario())


@pytest.mark.parametrize("why", ["nobody asks", "switched off", "deleted", "changed"])
def test_a_program_that_is_no_longer_needed_ends(
    store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch, journal: Journal, why: str
) -> None:
    monkeypatch.setattr(programs, "LOOK", 0.05)

    async def scenario() -> None:
        async with machine() as runtime:
            async with runtime.open(declare(), run_info()) as session:
                pid = int(text(await call(session, "process")))
                hanging = asyncio.create_task(call(session, "hang"))
                await journal.until("hang begins")
            match why:
                case "nobody asks":
                    settings.GATEWAY_MCP_IDLE_SECONDS = 0.1
                case "switched off":
                    store.add(**program(journal), enabled=False)
                case "deleted":
                    store.servers.clear()
                case "changed":
                    store.add(**program(journal))
            await asyncio.sleep(0.5)
            assert is_alive(pid), "a call is under way"
            hanging.cancel()
            await asyncio.to_thread(eventually, lambda: not is_alive(pid))

    play(scenario())


def test_a_server_that_was_down_comes_back_without_restart(store: Store, journal: Journal) -> None:
    async def scenario() -> None:
        async with running() as runtime:
            with pytest.raises(ToolRefused, match="tool host") as refused:
                async with runtime.open(declare(), run_info()):
                    pass
            assert refused.value.param == "server_label"
            async with hosting(socket_path(), [McpService()]):
                await works(runtime)

    play(scenario())


def test_a_program_that_says_nothing_is_left_after_its_time(store: Store) -> None:
    store.add(transport="stdio", command="sleep", args=("99",), connect_timeout=1.0)

    async def scenario() -> None:
        async with machine() as runtime:
            with pytest.raises(ToolRefused, match="The server did not answer in time"):
                async with runtime.open(declare(), run_info()):
                    pass

    play(scenario())


def test_a_program_that_is_not_there_is_told_by_name(store: Store) -> None:
    store.add(transport="stdio", command="no-such-program")

    async def scenario() -> None:
        async with machine() as runtime:
            with pytest.raises(ToolRefused, match="command was not found"):
                async with runtime.open(declare(), run_info()):
                    pass

    play(scenario())


PARENT = """
import asyncio, sys
import django; django.setup()
from apps.tools.mcp.program import program_transport
from tests.tools.mcp.specs import specify

async def main():
    spec = specify(transport="stdio", command="/bin/sh", args=("-c", "echo $$ > $0; exec sleep 600 <&-", sys.argv[1]))
    async with program_transport(spec):
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux has the means")
def test_a_program_does_not_outlive_a_host_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "responses_gateway.settings"}
    with subprocess.Popen([sys.executable, "-c", PARENT, str(path)], cwd=ROOT, env=env) as host:
        pid = int(eventually(lambda: (path.exists() and path.read_text().strip()) or None))
        host.kill()
    eventually(lambda: not is_alive(pid), what="the program's end")
