"""Code in the tool host: the call, its files and its end, across the socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pytest_django import Settings

from apps.tools.base import ToolUnavailable
from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.calls import (
    Call,
    Failed,
    FileRef,
    FileSaved,
    NodeEvent,
    Note,
    Placed,
)
from apps.tools.code_interpreter.embedded import HostNode
from apps.tools.code_interpreter.host_service import CodeInterpreterService
from apps.tools.code_interpreter.manager import SessionManager
from apps.tools.code_interpreter.places import Capacity
from apps.tools.host import socket_path
from tests.programs import eventually
from tests.scripted_sandbox import ScriptedSandbox
from tests.tools.code_interpreter.nodes import Box
from tests.tools.services import hosting


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Settings) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path


@asynccontextmanager
async def host(folder: Path) -> AsyncIterator[ScriptedSandbox]:
    """A tool host with the code interpreter over a scripted sandbox."""
    sandbox = ScriptedSandbox()

    def make() -> SessionManager:
        return SessionManager(sandbox, Capacity(), snapshots=folder / "snapshots")

    async with hosting(socket_path(), [CodeInterpreterService(make)]):
        yield sandbox


def call(code: str, *files: FileRef) -> Call:
    return Call(id="ci_1", container_id="cntr_1", code=code, files=files)


async def run(code: str, *files: FileRef, shelf: Box | None = None) -> list[NodeEvent]:
    events = HostNode().run(call(code, *files), shelf or Box())
    return [event async for event in events]


def test_what_the_code_does_arrives_in_order(folder: Path) -> None:
    async def scenario() -> None:
        async with host(folder):
            events = await run("print('a'); show('image/png', bytes(range(256))); print('b')")
        assert isinstance(events[0], Placed)
        assert events[1:-1] == [
            sb.Started(),
            sb.Stdout("a\n"),
            sb.Display("image/png", bytes(range(256))),
            sb.Stdout("b\n"),
        ]
        assert isinstance(events[-1], sb.Done)

    asyncio.run(scenario())


def test_files_go_in_and_come_out(folder: Path) -> None:
    async def scenario() -> None:
        shelf, big = Box(), bytes(range(256)) * 12_000
        given = [shelf.add("big.bin", big), shelf.add("dir/small.txt", b"small")]
        async with host(folder):
            code = "write('copy.bin', read('big.bin') + read('dir/small.txt'))"
            events = await run(code, *given, shelf=shelf)
        saved = next(event for event in events if isinstance(event, FileSaved))
        assert shelf.contents[saved.id] == big + b"small"
        assert saved == FileSaved(saved.id, "copy.bin", len(big) + 5, saved.version)

    asyncio.run(scenario())


def test_files_that_cannot_be_had_or_kept_are_told_and_the_call_goes_on(folder: Path) -> None:
    async def scenario() -> None:
        shelf = Box()
        shelf.refuse = "the disk is full"
        huge = shelf.add("huge.bin", bytes((100 << 20) + 1))
        gone = FileRef(id="cfile_gone", path="gone.txt", size=1, version="1")
        async with host(folder):
            events = await run("write('x', b'x'); print('on')", huge, gone, shelf=shelf)
        assert [event.text for event in events if isinstance(event, Note)] == [
            "huge.bin is missing: huge.bin",
            "gone.txt is missing: it was deleted",
            "x could not be kept: the disk is full",
        ]
        assert sb.Stdout("on\n") in events
        assert isinstance(events[-1], sb.Done)

    asyncio.run(scenario())


def test_a_file_whose_path_is_too_long_is_told_and_costs_nothing_else(folder: Path) -> None:
    async def scenario() -> None:
        async with host(folder):
            events = await run("write('d/' * 300 + 'x', b'x'); write('y', b'y'); print('on')")
        (note,) = [event.text for event in events if isinstance(event, Note)]
        assert "could not be kept: 'd/d/d" in note
        assert [event.path for event in events if isinstance(event, FileSaved)] == ["y"]
        assert isinstance(events[-1], sb.Done)

    asyncio.run(scenario())


def test_leaving_interrupts_the_code_and_keeps_the_variables(folder: Path) -> None:
    async def scenario() -> None:
        async with host(folder) as sandbox:
            events = HostNode().run(call("x = 1; wait()"), Box())
            async for event in events:
                if isinstance(event, sb.Started):
                    break
            await events.aclose()
            (session,) = sandbox.sessions
            await asyncio.to_thread(eventually, lambda: session.state == "ready")
            assert sb.Stdout("1\n") in await run("print(x)")

    asyncio.run(scenario())


def test_a_call_whose_caller_left_before_it_had_a_thread_does_not_run(
    folder: Path,
) -> None:
    async def scenario() -> None:
        sandbox = ScriptedSandbox()
        manager = SessionManager(sandbox, Capacity(), snapshots=folder / "snapshots")
        service = CodeInterpreterService(lambda: manager)
        async with hosting(socket_path(), [service]):
            service._threads = ThreadPoolExecutor(1)
            busy = threading.Event()
            service._threads.submit(busy.wait, 30)
            asked = asyncio.ensure_future(run("1"))
            await asyncio.to_thread(eventually, lambda: service._threads._work_queue.qsize() == 1)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            await asyncio.sleep(0.3)
            busy.set()
            await asyncio.to_thread(service._threads.submit(int).result)
            assert sandbox.cells == []

    asyncio.run(scenario())


def test_a_host_that_ends_in_the_middle_is_told_from_one_that_is_not_there(folder: Path) -> None:
    async def scenario() -> None:
        (missing,) = await run("1")
        assert isinstance(missing, Failed)
        assert missing.kind == "unavailable"
        assert "manage.py toolhost" in missing.message
        async with host(folder):
            events = HostNode().run(call("wait()"), Box())
            async for event in events:
                if isinstance(event, sb.Started):
                    break
            rest = asyncio.ensure_future(anext(events))
        end = await rest
        assert isinstance(end, Failed)
        assert end.kind == "lost"

    asyncio.run(scenario())


def test_its_state_can_be_asked_and_containers_be_discarded(folder: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(ToolUnavailable, match=r"manage\.py toolhost"):
            await HostNode().status()
        async with host(folder) as sandbox:
            await run("x = 1")
            (status,) = await HostNode().status()
            assert (status["backend"], status["warm"], status["busy"]) == ("scripted", 1, 0)
            await HostNode().discard("cntr_1")
            assert sandbox.sessions[0].state == "dead"

    asyncio.run(scenario())
