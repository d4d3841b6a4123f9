"""The supervisor with programs that misbehave in place of its server processes."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # it has no stubs
import pytest
from django.core.management.base import OutputWrapper

from apps.api.management import supervisor
from apps.api.management.children import Child, describe
from apps.api.management.supervisor import Helper, Plan, Supervisor
from apps.api.management.terminal import Terminal
from tests.management.gateway_command import all_gone

STUBBORN = """#!/bin/sh
trap 'echo asked to end' TERM
echo started
while true; do sleep 0.05; done
"""


class Output(io.StringIO):
    def __init__(self, tty: bool = False) -> None:
        super().__init__()
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


def terminal(out: Output) -> Terminal:
    return Terminal(OutputWrapper(out), OutputWrapper(out))


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a shell script in the place of the server's program."""

    def replace(script: str) -> None:
        path = tmp_path / "program"
        path.write_text(script)
        path.chmod(0o755)
        monkeypatch.setattr("apps.api.management.supervisor.sys.executable", str(path))

    return replace


@pytest.fixture
def plan(tmp_path: Path) -> Iterator[Plan]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield Plan(
            listening=listening,
            processes=1,
            env=dict(os.environ),
            numbers=tmp_path,
            local_url="http://127.0.0.1:9",
            drain_timeout=30,
            upstream_url="http://127.0.0.1:9/v1",
            upstream_key="",
            upstream_timeout=60,
            upstream_interval=60,
            upstream=None,
        )


async def announce(models: list[str]) -> str:
    raise AssertionError("nothing gets ready here")


def run(job: Coroutine[Any, Any, int]) -> int:
    return asyncio.run(asyncio.wait_for(job, 30))


def test_a_server_process_that_cannot_start_ends_the_command(
    program: Callable[[str], None], plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("#!/bin/sh\nexit 7\n")
    monkeypatch.setattr(supervisor, "FIRST_DELAY", 0.01)
    out = Output()

    async def job() -> int:
        return await Supervisor(plan, terminal(out), announce).run()

    assert run(job()) == 1
    text = out.getvalue()
    assert text.count("exited with 7. Another one is started in") == 3
    assert "exited with 7. It does not start: giving up." in text


def test_a_helper_that_ends_is_started_again_and_ends_with_the_command(
    program: Callable[[str], None], plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(STUBBORN)
    monkeypatch.setattr(supervisor, "FIRST_DELAY", 0.01)
    starts = tmp_path / "starts"
    script = f"echo x >> {starts}; [ $(wc -l < {starts}) -lt 3 ] || exec sleep 60"
    helper = Helper(label="tool host", command=["sh", "-c", script], env=dict(os.environ))
    out = Output()

    async def job() -> int:
        running = Supervisor(replace(plan, helpers=[helper]), terminal(out), announce)
        end = asyncio.ensure_future(running.run())
        while not (starts.exists() and starts.read_text().count("x") == 3 and running.helpers):  # noqa: ASYNC110 - nothing tells that it runs
            await asyncio.sleep(0.01)
        (child,) = running.helpers
        running.interrupt(signal.SIGINT)
        for server in running.servers:
            server.kill()
        status = await end
        assert child.process.returncode is not None
        return status

    assert run(job()) == 0
    assert out.getvalue().count("The tool host exited with 0. It is started again in") == 2


def test_a_second_signal_kills_what_does_not_end(
    program: Callable[[str], None], plan: Plan
) -> None:
    program(STUBBORN)
    out = Output()

    async def job() -> int:
        running = Supervisor(plan, terminal(out), announce)
        end = asyncio.ensure_future(running.run())
        while not running.servers:  # noqa: ASYNC110 - nothing tells that it runs
            await asyncio.sleep(0.01)
        (child,) = running.servers
        running.interrupt(signal.SIGINT)
        running.interrupt(signal.SIGINT)
        status = await end
        assert child.process.returncode == -signal.SIGKILL
        return status

    assert run(job()) == 130
    assert "A second Ctrl-C stops at once." in out.getvalue()


def test_a_child_that_ignores_a_request_to_end_is_killed_after_its_grace(tmp_path: Path) -> None:
    script = tmp_path / "stubborn"
    script.write_text(STUBBORN)
    lines: list[str] = []

    async def job() -> int:
        started = asyncio.Event()

        def echo(line: str) -> None:
            lines.append(line)
            started.set()

        child = await Child.start(["/bin/sh", str(script)], env=dict(os.environ), echo=echo)
        await started.wait()
        await child.stop(signal.SIGTERM, grace=0.3)
        return await child.wait()

    assert run(job()) == -signal.SIGKILL
    assert lines == ["started", "asked to end"]


def test_what_a_child_started_ends_with_it() -> None:
    lines: list[str] = []

    async def job() -> int:
        command = ["/bin/sh", "-c", "sleep 1000 & echo $!; exec sleep 1000"]
        child = await Child.start(command, env=dict(os.environ), echo=lines.append)
        while not lines:  # noqa: ASYNC110 - the child tells a function, not an event
            await asyncio.sleep(0.01)
        await child.stop(signal.SIGTERM, grace=5)
        return await child.wait()

    assert run(job()) == -signal.SIGTERM
    grandchild = psutil.Process(int(lines[0])) if psutil.pid_exists(int(lines[0])) else None
    if grandchild is not None:
        all_gone([grandchild])


def test_output_is_passed_on_line_by_line_whatever_ends_a_line() -> None:
    lines: list[str] = []
    code = r"import sys; sys.stdout.buffer.write(b'a\rb\r\nc\n\nd\xff\xc3\xa9' + b'x' * 100000)"

    async def job() -> int:
        child = await Child.start(
            [sys.executable, "-c", code], env=dict(os.environ), echo=lines.append
        )
        return await child.wait()

    assert run(job()) == 0
    assert lines == ["a", "b", "c", "d\N{REPLACEMENT CHARACTER}é" + "x" * 100000]


@pytest.mark.parametrize(("status", "words"), [(3, "exited with 3"), (-9, "was killed by SIGKILL")])
def test_an_exit_status_is_said_in_words(status: int, words: str) -> None:
    assert describe(status) == words


def test_without_a_terminal_a_status_is_a_line_only_when_it_is_news() -> None:
    out = Output()
    writing = terminal(out)
    writing.status("Waiting", " (1 s)")
    writing.status("Waiting", " (2 s)")
    writing.status("Waiting for more", " (3 s)")
    assert out.getvalue() == "Waiting (1 s)\nWaiting for more (3 s)\n"


def test_on_a_terminal_a_status_replaces_the_one_before() -> None:
    out = Output(tty=True)
    writing = terminal(out)
    writing.status("Waiting", " (1 s)")
    writing.status("Waiting", " (2 s)")
    writing.line("Ready")
    assert out.getvalue() == "Waiting (1 s)\r\x1b[KWaiting (2 s)\r\x1b[KReady\n"
