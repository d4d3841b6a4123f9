"""A sandbox in memory, for tests of what hosts sandboxes: it confines nothing.

Cells are Python and run in the test's own process. Besides the builtins they have

- ``show(media_type, data)``: display something,
- ``write(path, data)``: make a file,
- ``read(path)``: its content,
- ``wait()``: do nothing until the cell is interrupted,
- ``die(status="crashed")``: lose the interpreter.

``cells`` lists what ran: code never runs twice.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from apps.tools.code_interpreter import sandbox as sb


class _Death(BaseException):
    def __init__(self, status: sb.CallStatus) -> None:
        self.status = status


class ScriptedSandbox:
    """The backend. ``refuse`` is the message of SandboxUnavailable at the next starts; with
    ``slow`` they take until they are cancelled."""

    name = "scripted"
    features = frozenset({"snapshot"})

    def __init__(self, *, refuse: str | None = None) -> None:
        self.refuse, self.slow = refuse, False
        self.sessions: list[ScriptedSession] = []
        self.cells: list[tuple[str, str]] = []
        """(call id, code) of every cell that was started, in all sessions."""

    def probe(self) -> sb.Health:
        return sb.Health(usable=self.refuse is None, backend=self.name, versions={})

    def start(
        self,
        session_id: str,
        limits: sb.Limits,
        *,
        restore: bytes | None = None,
        cancelled: threading.Event | None = None,
    ) -> ScriptedSession:
        if self.slow and cancelled is not None and cancelled.wait(limits.wall_s):
            raise sb.SandboxUnavailable("cancelled")
        if self.refuse is not None:
            raise sb.SandboxUnavailable(self.refuse)
        session = ScriptedSession(self, session_id, limits)
        if restore is not None:
            session.variables.update(json.loads(restore))
        self.sessions.append(session)
        return session

    def warm(self) -> None:
        """There is nothing to warm."""

    def close(self) -> None:
        for session in self.sessions:
            session.close()


class ScriptedSession:
    """One dictionary of variables and one of files."""

    pid: int | None = None

    def __init__(self, sandbox: ScriptedSandbox, session_id: str, limits: sb.Limits) -> None:
        self.session_id, self.limits = session_id, limits
        self.state: sb.SessionState = "ready"
        self.variables: dict[str, Any] = {}
        self.files: dict[str, bytes] = {}
        self.running = threading.Event()
        """Set while a cell runs."""
        self._sandbox = sandbox
        self._interrupted = threading.Event()
        self._closed = False

    def execute(self, code: str, call_id: str) -> Iterator[sb.Event]:
        self._alive()
        return self._execute(code, call_id)

    def _execute(self, code: str, call_id: str) -> Iterator[sb.Event]:
        began, before = time.monotonic(), dict(self.files)
        self._sandbox.cells.append((call_id, code))
        self._interrupted.clear()
        self.state = "busy"
        self.running.set()
        out: list[sb.Event] = []
        status: sb.CallStatus = "ok"
        lost = False
        yield sb.Started()
        try:
            exec(code, self._globals(out))
        except _Death as exc:
            status, lost = exc.status, True
        except KeyboardInterrupt:
            status = "cancelled"
        except BaseException as exc:  # whatever the cell raises is its result
            status = "error"
            out.append(sb.Error(type(exc).__name__, str(exc), f"{type(exc).__name__}: {exc}"))
        finally:
            self.running.clear()
            self.state = "dead" if lost or self._closed else "ready"
        yield from out
        for path, data in self.files.items():
            if before.get(path) != data:
                yield sb.FileChanged(path, len(data))
        ms = round((time.monotonic() - began) * 1000)
        yield sb.Done(status=status, ms=ms, state_lost=lost)

    def _globals(self, out: list[sb.Event]) -> dict[str, Any]:
        def die(status: sb.CallStatus = "crashed") -> None:
            raise _Death(status)

        def wait() -> None:
            if self._interrupted.wait(self.limits.wall_s):
                raise _Death("crashed") if self._closed else KeyboardInterrupt
            raise _Death("timeout")

        self.variables |= {
            "print": lambda *words: out.append(sb.Stdout(" ".join(map(str, words)) + "\n")),
            "show": lambda media_type, data: out.append(sb.Display(media_type, data)),
            "write": self.files.__setitem__,
            "read": self.files.__getitem__,
            "wait": wait,
            "die": die,
        }
        return self.variables

    def interrupt(self) -> None:
        self._interrupted.set()

    def put(self, path: str, chunks: Iterable[bytes]) -> None:
        self._alive()
        data = b"".join(chunks)
        if len(data) > self.limits.files_bytes or ".." in path.split("/"):
            raise sb.FilesRefused(path)
        self.files[path] = data

    def list(self) -> list[sb.FileInfo]:
        self._alive()
        return [sb.FileInfo(path, len(data), str(hash(data))) for path, data in self.files.items()]

    def get(self, path: str) -> Iterator[bytes]:
        self._alive()
        if len(path) > 512:
            raise sb.FilesRefused(f"{path[:100]!r} is no path below {sb.DATA_FOLDER}")
        if path not in self.files:
            raise FileNotFoundError(path)
        yield self.files[path]

    def delete(self, path: str) -> None:
        self._alive()
        self.files.pop(path, None)

    def snapshot(self) -> bytes | None:
        self._alive()
        plain = {k: v for k, v in self.variables.items() if isinstance(v, (int, str, float, list))}
        return json.dumps(plain).encode()

    def close(self) -> None:
        self._closed = True
        self.state = "dead"
        self._interrupted.set()

    def _alive(self) -> None:
        if self.state == "dead":
            raise sb.SessionDead(self.session_id)
