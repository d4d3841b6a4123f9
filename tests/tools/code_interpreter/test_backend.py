"""What all backends share: who waits for a start, for how long, and what becomes of failed ones."""

from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, cast

import pytest

from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.sandboxes import confinement, make_sandbox
from apps.tools.code_interpreter.sandboxes.backend import Backend
from apps.tools.code_interpreter.sandboxes.child import Child, ChildGone
from apps.tools.code_interpreter.sandboxes.native.backend import NativeSandbox, bubblewrap
from apps.tools.code_interpreter.sandboxes.session import Files, InterpreterSession
from apps.tools.code_interpreter.sandboxes.watchdog import Watchdog
from tests.programs import eventually

from .conftest import LIMITS

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
RESTORES = "apps.tools.code_interpreter.sandboxes.pyodide.backend.RESTORE"


class Mute:
    """An interpreter that starts, and then says nothing."""

    def __init__(self, child: Child) -> None:
        self.child, self.pid = child, child.pid
        self.closed = False

    def configure(self, limits: sb.Limits) -> Files:
        raise ChildGone("no 'reply' in time")

    def interrupt(self, call_id: str) -> None: ...

    def snapshot(self) -> bytes | None: ...

    def close(self) -> None:
        self.child.kill()
        self.child.reap()
        self.closed = True


class Mutes(Backend):
    """Starts them as soon as it may."""

    name = "mute"
    features = frozenset[str]()

    def __init__(self, *, spares: int = 0) -> None:
        super().__init__(sb.SandboxConfig(backend="native", folder=Path("none"), spares=spares))
        self.go = threading.Event()
        self.made: list[Mute] = []

    def health(self) -> sb.Health:
        return sb.Health(usable=True, backend=self.name, versions={})

    def open(self, restore: bytes | None) -> Mute:
        self.go.wait(30)
        self.made.append(Mute(self.spawn(SLEEPER, {})))
        return self.made[-1]


@contextmanager
def mutes(*, spares: int = 0) -> Iterator[Mutes]:
    backend = Mutes(spares=spares)
    try:
        yield backend
    finally:
        backend.go.set()
        backend.close()


def test_a_caller_who_gives_up_does_not_wait_for_the_start_any_longer() -> None:
    with mutes() as backend:
        cancelled = threading.Event()
        threading.Timer(0.2, cancelled.set).start()
        with pytest.raises(sb.SandboxUnavailable):
            backend.start("s", LIMITS, cancelled=cancelled)
        backend.go.set()
        eventually(lambda: len(backend.made) == 1)
        with pytest.raises(sb.SandboxUnavailable):
            backend.start("s", LIMITS)  # takes the one that was left
        assert len(backend.made) == 1


def test_an_interpreter_that_cannot_be_set_up_is_ended() -> None:
    with mutes() as backend:
        backend.go.set()
        with pytest.raises(sb.SandboxUnavailable, match="no 'reply'"):
            backend.start("s", LIMITS)
        (mute,) = backend.made
        assert mute.closed
        assert mute.child.process.returncode is not None


def test_a_session_gets_the_spare_and_another_one_is_made(folder: Path) -> None:
    backend = NativeSandbox(sb.SandboxConfig(backend="native", folder=folder, spares=1))
    try:
        backend.warm()
        (spare,) = backend._spares
        session = backend.start("s", LIMITS)
        assert session.pid == spare.result().pid
        (next_spare,) = backend._spares
        assert next_spare.result().pid != session.pid
    finally:
        backend.close()


def test_closing_ends_the_spares() -> None:
    with mutes(spares=1) as backend:
        backend.go.set()
        backend.warm()
        eventually(lambda: len(backend.made) == 1)
    assert backend.made[0].closed


def test_closing_does_not_stop_at_a_spare_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(backend: Backend, restore: bytes | None) -> Mute:
        raise OSError

    monkeypatch.setattr(Mutes, "open", fail)
    with mutes(spares=1) as backend:
        backend.warm()
    with pytest.raises(sb.SandboxUnavailable, match="closed"):
        backend.spawn(SLEEPER, {})


def test_a_session_that_cannot_be_looked_at_is_ended_and_the_others_are_watched_on() -> None:
    class Broken:
        def exceeded(self) -> bool:
            raise PermissionError

    class Watched:
        session_id = "s"

        def __init__(self, *, limit_mb: int) -> None:
            self._child = Child(SLEEPER, {})
            self.limits = dataclasses.replace(LIMITS, rss_mb=limit_mb)
            self._files, self.idle_cpu_from = Broken(), None

        @property
        def state(self) -> sb.SessionState:
            return "busy" if self._child.process.poll() is None else "dead"

    watchdog = Watchdog()
    broken = Watched(limit_mb=1000)
    watchdog.watch(cast(InterpreterSession, broken))
    eventually(lambda: broken.state == "dead")
    large = Watched(limit_mb=1)
    watchdog.watch(cast(InterpreterSession, large))
    eventually(lambda: large.state == "dead")
    for each in (broken, large):
        each._child.reap()
    watchdog.close()


def test_memory_that_hangs_when_it_is_restored_keeps_nobody_else_waiting(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RESTORES, 8.0)
    backend = make_sandbox(sb.SandboxConfig(backend="pyodide", folder=folder, spares=0))
    try:
        first = backend.start("first", LIMITS)
        code = (
            "import sandbox_session, time\n"
            "real, until = sandbox_session.attach, time.time() + 4\n"
            "def attach(*given):\n"
            "    real(*given)\n"
            "    while time.time() > until:\n"
            "        pass\n"
            "sandbox_session.attach = attach"
        )
        list(first.execute(code, "call"))
        snapshot = first.snapshot()
        assert snapshot is not None
        first.close()
        time.sleep(4)
        refused = threading.Event()

        def restore() -> None:
            with pytest.raises(sb.SnapshotRefused):
                backend.start("poisoned", LIMITS, restore=snapshot)
            refused.set()

        threading.Thread(target=restore, daemon=True).start()
        time.sleep(0.5)
        other = backend.start("other", LIMITS)
        assert not refused.is_set(), "it did not wait"
        other.close()
        assert refused.wait(20)
    finally:
        backend.close()


# --- Processes that the kernel refuses ------------------------------------------------------------


def refused(*args: object, **options: object) -> None:
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def test_a_process_that_is_refused_is_told_and_the_next_may_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with mutes() as backend:
        backend.go.set()
        with monkeypatch.context() as full:
            full.setattr(subprocess, "Popen", refused)
            with pytest.raises(sb.SandboxUnavailable, match="temporarily unavailable"):
                backend.start("s", LIMITS)
            with pytest.raises(sb.SandboxUnavailable):  # the variables are not refused
                backend.start("s", LIMITS, restore=b"variables")
        assert backend.open(None).child.process.poll() is None
        backend.made[-1].close()


def test_a_native_process_that_is_refused_leaves_no_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = NativeSandbox(
        sb.SandboxConfig(backend="native", folder=folder, spares=0, unconfined=True)
    )
    try:
        sandbox.probe()
        with monkeypatch.context() as full:
            full.setattr(subprocess, "Popen", refused)
            with pytest.raises(sb.SandboxUnavailable, match="temporarily unavailable"):
                sandbox.start("s", LIMITS)
        assert sandbox._folder is not None
        assert [path.name for path in sandbox._folder.path.iterdir()] == [".lock"]
    finally:
        sandbox.close()


@pytest.mark.parametrize("backend", ["native", "pyodide"])
def test_a_layer_that_could_not_be_tried_is_not_taken_for_missing(
    backend: Literal["native", "pyodide"], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox = make_sandbox(sb.SandboxConfig(backend=backend, folder=folder, spares=0))
    layers = sandbox.probe().layers
    try:
        with monkeypatch.context() as full:
            confinement.kernel.cache_clear()
            bubblewrap.cache_clear()
            full.setattr(subprocess, "Popen", refused)
            health = sandbox.probe()
            assert not health.usable
            assert "cannot be tried" in health.missing[0]
            with pytest.raises(sb.SandboxUnavailable, match="temporarily unavailable"):
                sandbox.start("s", LIMITS)
        assert sandbox.probe().layers == layers
    finally:
        sandbox.close()
