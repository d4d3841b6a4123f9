"""What backends have in common: starting interpreters, spares, and the watchdog."""

from __future__ import annotations

import contextlib
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import TypeAlias

from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.sandboxes.child import SLICE, Child, ChildGone
from apps.tools.code_interpreter.sandboxes.session import Interpreter, InterpreterSession
from apps.tools.code_interpreter.sandboxes.watchdog import Watchdog

START = 60.0  # seconds; a machine that is busy takes long
CLOSED = "The sandboxes of this process are closed."
Start: TypeAlias = Future[Interpreter]


class Backend(ABC):
    """Starts interpreters, and keeps some started for the next sessions.

    Processes ask the kernel to end them when the thread that made them ends: one thread, which
    lives as long as the backend, makes them all and waits for none. Plain starts come one after
    another in a second thread. A restore is its caller's own: the memory that it brings back is
    foreign, and may keep it waiting.
    """

    name: str
    features: frozenset[str]

    def __init__(self, config: sb.SandboxConfig) -> None:
        self.config = config
        self._spawner = ThreadPoolExecutor(1, thread_name_prefix="sandbox-spawner")
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="sandbox-starter")
        self._watchdog = Watchdog()
        self._spares: list[Start] = []
        self._sessions: list[InterpreterSession] = []
        self._lock = threading.Lock()
        self._closed = False

    def probe(self) -> sb.Health:
        try:
            return self.health()
        except sb.SandboxUnavailable as exc:
            return sb.Health(usable=False, backend=self.name, versions={}, missing=(str(exc),))

    @abstractmethod
    def health(self) -> sb.Health:
        """For ``probe``. Raises SandboxUnavailable where that cannot be found out."""

    @abstractmethod
    def open(self, restore: bytes | None) -> Interpreter:
        """A started interpreter, ready for code; its process is made by ``spawn``. Raises
        ChildGone and SandboxUnavailable."""

    def spawn(self, argv: Sequence[str], env: dict[str, str]) -> Child:
        """Raises SandboxUnavailable."""
        try:
            return self._spawner.submit(Child, argv, env).result()
        except (RuntimeError, CancelledError) as exc:
            raise self._refused(exc) from exc
        except OSError as exc:  # no memory, no process, no descriptor left: no code has run
            why = exc.strerror or str(exc)
            raise sb.SandboxUnavailable(f"No process can be started: {why}.") from exc

    def start(
        self,
        session_id: str,
        limits: sb.Limits,
        *,
        restore: bytes | None = None,
        cancelled: threading.Event | None = None,
    ) -> InterpreterSession:
        try:
            if restore is None:
                interpreter = self._take(cancelled or threading.Event())
            else:
                interpreter = self.open(restore)
            session = _session(interpreter, session_id, limits)
        except ChildGone as exc:
            if restore is not None:
                raise sb.SnapshotRefused(str(exc)) from exc
            raise sb.SandboxUnavailable(f"The interpreter does not start: {exc}") from exc
        except TimeoutError as exc:
            raise sb.SandboxUnavailable("The interpreter did not start in time.") from exc
        self._keep(session)
        self.warm()
        return session

    def _keep(self, session: InterpreterSession) -> None:
        with self._lock:
            if not self._closed:
                self._sessions = [s for s in self._sessions if s.state != "dead"] + [session]
                self._watchdog.watch(session)
                return
        session.close()
        raise sb.SandboxUnavailable(CLOSED)

    def _take(self, cancelled: threading.Event) -> Interpreter:
        """A spare that still lives, else a new interpreter."""
        while (spare := self._next_spare()) is not None:
            # One that could not start, for want of an installation say, tells nothing of the next.
            with contextlib.suppress(ChildGone, sb.SandboxUnavailable):
                interpreter = self._wait(spare, cancelled)
                if interpreter.child.process.poll() is None:
                    return interpreter
                interpreter.close()
        return self._wait(self._submit(), cancelled)

    def _next_spare(self) -> Start | None:
        with self._lock:
            return self._spares.pop(0) if self._spares else None

    def _wait(self, start: Start, cancelled: threading.Event) -> Interpreter:
        """What was started. Whoever gives up leaves it to others, as a spare. Raises TimeoutError,
        and what the start raised."""
        until = time.monotonic() + START
        while not wait((start,), timeout=SLICE).done:
            if cancelled.is_set() or time.monotonic() > until:
                with self._lock:
                    if not start.cancel():
                        self._spares.append(start)
                raise TimeoutError
        try:
            return start.result()
        except CancelledError as exc:
            raise sb.SandboxUnavailable(CLOSED) from exc

    def warm(self) -> None:
        with self._lock:
            while not self._closed and len(self._spares) < self.config.spares:
                self._spares.append(self._submit())

    def _submit(self) -> Start:
        try:
            return self._starter.submit(self.open, None)
        except RuntimeError as exc:
            raise self._refused(exc) from exc

    def _refused(self, exc: Exception) -> sb.SandboxUnavailable:
        """A pool takes nothing when it is closed, and when the kernel gives it no thread."""
        return sb.SandboxUnavailable(CLOSED if self._closed else f"No interpreter starts: {exc}.")

    def close(self) -> None:
        with self._lock:
            self._closed = True
            sessions, self._sessions = self._sessions, []
        for session in sessions:
            session.close()
        self._starter.shutdown(cancel_futures=True)
        with self._lock:
            spares, self._spares = self._spares, []
        for spare in spares:
            with contextlib.suppress(Exception):  # whatever became of one, the rest is to be closed
                spare.result().close()
        self._watchdog.close()
        self._spawner.shutdown()


def _session(interpreter: Interpreter, session_id: str, limits: sb.Limits) -> InterpreterSession:
    try:
        return InterpreterSession(interpreter, session_id, limits)
    except ChildGone:
        interpreter.close()
        raise
