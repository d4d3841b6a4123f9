"""What hosts of interpreters leave on the disk when they are killed, and who tidies it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.manager import SessionManager
from apps.tools.code_interpreter.places import Capacity
from apps.tools.code_interpreter.sandboxes.confinement import kernel
from apps.tools.code_interpreter.sandboxes.held_folder import HeldFolder
from apps.tools.code_interpreter.sandboxes.native.backend import NativeSandbox, bubblewrap
from tests.programs import Program
from tests.scripted_sandbox import ScriptedSandbox

from .conftest import LIMITS, Interpreter

KEEPS_SNAPSHOTS = """
import sys, time
from pathlib import Path
from apps.tools.code_interpreter.calls import Call
from apps.tools.code_interpreter.manager import SessionManager
from apps.tools.code_interpreter.places import Capacity
from tests.scripted_sandbox import ScriptedSandbox
from tests.tools.code_interpreter.nodes import Shelf

capacity = Capacity(idle_s=0)
manager = SessionManager(ScriptedSandbox(), capacity, snapshots=Path(sys.argv[1]))
list(manager.run(Call(id="ci_1", container_id="cntr_1", code="x = 1"), Shelf()))
manager.sweep()
print("ready", flush=True)
time.sleep(600)
"""
RUNS_NATIVELY = """
import sys, time
from pathlib import Path
from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.sandboxes.native.backend import NativeSandbox

config = sb.SandboxConfig(backend="native", folder=Path(sys.argv[1]), spares=0)
sandbox = NativeSandbox(config)
session = sandbox.start("s", sb.Limits())
print("ready", session._files.folder, flush=True)
time.sleep(600)
"""


@contextmanager
def host(program: str, folder: Path) -> Iterator[Program]:
    """A process that is ready, to be killed."""
    started = Program([sys.executable, "-c", program, str(folder)])
    try:
        started.line("ready")
        yield started
    finally:
        started.close()
        started.wait()


def kill(program: Program) -> None:
    program.signal(signal.SIGKILL)
    program.wait()


def snapshots(folder: Path) -> int:
    return len(list(folder.rglob("*.snapshot")))


def start_and_stop(folder: Path) -> None:
    SessionManager(ScriptedSandbox(), Capacity(), snapshots=folder).close()


def test_snapshots_of_a_killed_host_go_when_another_starts_and_those_of_living_ones_stay(
    tmp_path: Path,
) -> None:
    with host(KEEPS_SNAPSHOTS, tmp_path), host(KEEPS_SNAPSHOTS, tmp_path) as doomed:
        assert snapshots(tmp_path) == 2
        kill(doomed)
        assert snapshots(tmp_path) == 2
        start_and_stop(tmp_path)
        assert snapshots(tmp_path) == 1
    start_and_stop(tmp_path)
    assert snapshots(tmp_path) == 0


def test_folders_of_native_sessions_go_with_the_next_host_when_theirs_was_killed(
    folder: Path,
) -> None:
    if not (bubblewrap() or (kernel().landlock and kernel().seccomp)):
        pytest.skip("nothing confines native code here")
    sandbox = NativeSandbox(sb.SandboxConfig(backend="native", folder=folder, spares=0))
    try:
        with host(RUNS_NATIVELY, folder) as living, host(RUNS_NATIVELY, folder) as doomed:
            kept, left = (
                Path(each.line("ready").removeprefix("ready ")) for each in (living, doomed)
            )
            kill(doomed)
            assert left.exists()
            assert Interpreter(sandbox.start("s", LIMITS)).run("1 + 1").value == "2"
            assert not left.exists()
            assert kept.exists()
    finally:
        sandbox.close()


def test_a_folder_is_removed_also_where_the_kernel_makes_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: object, **options: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    held = HeldFolder(tmp_path)
    (held.path / "data").mkdir()
    (held.path / "data" / "file").touch()
    monkeypatch.setattr(subprocess, "Popen", refused)
    held.close()
    assert not held.path.exists()
