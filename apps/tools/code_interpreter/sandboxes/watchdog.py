"""Kills interpreters that use too much: memory at any time, disk in a call, CPU between calls."""

from __future__ import annotations

import threading

import structlog

from apps.tools.code_interpreter.sandboxes.session import InterpreterSession

log = structlog.stdlib.get_logger(__name__)

EVERY = 0.1
DISK_EVERY = 5  # rounds: to look through many files takes time


class Watchdog:
    """One thread for all sessions of a backend; it runs while there are any."""

    def __init__(self) -> None:
        self._sessions: list[InterpreterSession] = []
        self._lock = threading.Lock()
        self._running = False
        self._stop = threading.Event()

    def watch(self, session: InterpreterSession) -> None:
        with self._lock:
            self._sessions.append(session)
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="sandbox-watchdog", daemon=True).start()

    def close(self) -> None:
        self._stop.set()

    def _run(self) -> None:
        round_ = 0
        while not self._stop.wait(EVERY):
            with self._lock:
                self._sessions = [s for s in self._sessions if s.state != "dead"]
                if not self._sessions:
                    self._running = False
                    return
                sessions = list(self._sessions)
            round_ += 1
            for session in sessions:
                self._look_at(session, disk=round_ % DISK_EVERY == 0)

    @staticmethod
    def _look_at(session: InterpreterSession, *, disk: bool) -> None:
        """One that cannot be looked at is not left unwatched, nor are the others."""
        try:
            look_at(session, disk=disk)
        except Exception:
            log.exception("session cannot be watched", session=session.session_id)
            session._child.kill("disk")


def look_at(session: InterpreterSession, *, disk: bool) -> None:
    child, limits = session._child, session.limits
    if (usage := child.usage()) is None:
        return
    resident, cpu = usage
    if resident > limits.rss_mb << 20:
        child.kill("oom")
    elif (since := session.idle_cpu_from) is not None:
        if cpu - since > limits.idle_cpu_s:
            child.kill("idle")
    elif disk and session._files.exceeded():
        child.kill("disk")
