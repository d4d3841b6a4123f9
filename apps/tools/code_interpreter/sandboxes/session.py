"""A session: one interpreter, its calls and their limits. The same for every backend with frames."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Protocol

from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.sandboxes.child import Child, ChildGone
from apps.tools.code_interpreter.sandboxes.frames import BadFrame, Frame
from apps.tools.code_interpreter.sandboxes.output import Output

ENDS: dict[str | None, sb.CallStatus] = {"oom": "oom", "closed": "cancelled"}
ASK_EVERY = 0.4  # seconds
FLOOD = 10 << 20  # bytes that are dropped, after which the cell is interrupted


class Files(Protocol):
    """Where a backend keeps the files of one session."""

    def put(self, path: str, chunks: Iterable[bytes]) -> None: ...

    def list(self) -> tuple[list[sb.FileInfo], int]:
        """The files, and how many bytes of files there are beyond the most that may be."""

    def get(self, path: str) -> Iterator[bytes]: ...

    def delete(self, path: str) -> None: ...

    def exceeded(self) -> bool:
        """Whether the host's disk holds far more than the limits allow."""

    def close(self) -> None: ...


class Interpreter(Protocol):
    """What a backend knows of its interpreters beyond their frames."""

    @property
    def child(self) -> Child: ...

    @property
    def pid(self) -> int:
        """Of the process that Python is in, which the child may only have started."""

    def configure(self, limits: sb.Limits) -> Files: ...

    def interrupt(self, call_id: str) -> None:
        """Make the running cell raise KeyboardInterrupt. Raises ChildGone."""

    def snapshot(self) -> bytes | None: ...

    def close(self) -> None:
        """End it, where no session was made of it."""


class InterpreterSession:
    """See ``Session``. A call's time, output and end are decided here, by the host."""

    def __init__(self, interpreter: Interpreter, session_id: str, limits: sb.Limits) -> None:
        self.session_id, self.limits = session_id, limits
        self.state: sb.SessionState = "ready"
        self._interpreter, self._child = interpreter, interpreter.child
        self._files = interpreter.configure(limits)
        self._known: dict[str, str] = {}
        self._cancelled = False
        self.idle_cpu_from: float | None = None
        """CPU seconds at the end of the last call; None while one runs."""
        self._rest()

    @property
    def pid(self) -> int:
        return self._interpreter.pid

    # --- Calls ------------------------------------------------------------------------------------

    def execute(self, code: str, call_id: str) -> Iterator[sb.Event]:
        self._alive()
        return self._execute(code, call_id)

    def _execute(self, code: str, call_id: str) -> Iterator[sb.Event]:
        call = _Call(self, call_id)
        self.state, self._cancelled, self.idle_cpu_from = "busy", False, None
        finished = False
        try:
            self._send_code(code, call)
            yield sb.Started()
            yield from call.events()
            yield from self._changed(call)
            finished = True
            yield self._end(call)
        finally:
            if not finished:  # nobody listens any more
                self._abandon(call)

    def _send_code(self, code: str, call: _Call) -> None:
        try:
            self._child.send({"op": "exec", "call": call.id, "code": code})
        except ChildGone:
            call.lose("crashed")

    def _end(self, call: _Call) -> sb.Done:
        if call.lost:
            self._die()
        else:
            self._rest()
        return sb.Done(status=call.status, ms=call.elapsed_ms(), state_lost=call.lost)

    def _abandon(self, call: _Call) -> None:
        self._cancelled = True
        for _ in call.events():
            pass
        self._end(call)

    def _rest(self) -> None:
        usage = self._child.usage()
        self.idle_cpu_from = usage[1] if usage else 0
        self.state = "ready"

    def _changed(self, call: _Call) -> Iterator[sb.Event]:
        """What the call made of the files; a dead interpreter has lost what it held in memory."""
        try:
            files, dropped = self._list()
        except (ChildGone, BadFrame):
            if not call.lost:
                call.lose("crashed")
            return
        known, total = self._known, 0
        self._known = {}
        if not dropped:  # else the list is not whole
            for path in known.keys() - {file.path for file in files}:
                yield sb.FileDeleted(path)
        for file in files:
            total += file.size
            if total > self.limits.files_bytes:
                dropped += file.size
                continue
            self._known[file.path] = file.version
            if known.get(file.path) != file.version:
                yield sb.FileChanged(file.path, file.size)
        if dropped:
            yield sb.Truncated("files", dropped)

    def interrupt(self) -> None:
        if self.state == "busy":
            self._cancelled = True

    # --- Files ------------------------------------------------------------------------------------

    def put(self, path: str, chunks: Iterable[bytes]) -> None:
        self._alive()
        check_path(path)
        with _dead_if_gone(self):
            bounded = self._bounded(path, chunks)
            try:
                self._files.put(path, bounded)
            except sb.FilesRefused:
                self._files.delete(path)  # half a file is none
                raise
            self._known |= {f.path: f.version for f in self._list()[0] if f.path == path}

    def _bounded(self, path: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The chunks, as long as there is room for them. Raises FilesRefused, at once or later."""
        others = [f for f in self._list()[0] if f.path != path]
        if len(others) >= self.limits.files_count:
            raise sb.FilesRefused(f"there are {len(others)} files already")
        return _up_to(self.limits.files_bytes - sum(f.size for f in others), chunks)

    def _list(self) -> tuple[list[sb.FileInfo], int]:
        """What ``Files`` says. A folder that code has locked is one without an interpreter."""
        try:
            return self._files.list()
        except OSError as exc:
            raise ChildGone(f"its files cannot be listed: {exc.strerror}") from exc

    def list(self) -> list[sb.FileInfo]:
        self._alive()
        with _dead_if_gone(self):
            return self._list()[0]

    def get(self, path: str) -> Iterator[bytes]:
        self._alive()
        check_path(path)
        left = self.limits.files_bytes
        with _dead_if_gone(self):
            for chunk in self._files.get(path):
                yield chunk[:left]
                left -= len(chunk)
                if left <= 0:
                    return

    def delete(self, path: str) -> None:
        self._alive()
        check_path(path)
        with _dead_if_gone(self):
            self._files.delete(path)
        self._known.pop(path, None)

    # --- Life -------------------------------------------------------------------------------------

    def snapshot(self) -> bytes | None:
        self._alive()
        with _dead_if_gone(self):
            return self._interpreter.snapshot()

    def close(self) -> None:
        self._child.kill("closed")
        if self.state != "busy":  # else the thread of the call sees the end, and clears up
            self._die()

    def _alive(self) -> None:
        if self.state == "ready" and self._child.process.poll() is not None:
            self._die()
        if self.state == "dead":
            raise sb.SessionDead(f"the interpreter of {self.session_id} is gone")

    def _die(self) -> None:
        if self.state != "dead":
            self.state = "dead"
            self._child.kill()
            self._child.reap()
            self._files.close()


class _Call:
    """One cell while it runs: reads frames, keeps time, and knows how it ended."""

    def __init__(self, session: InterpreterSession, call_id: str) -> None:
        self.id, self.session, self.child = call_id, session, session._child
        self.limits = session.limits
        self.output = Output(self.limits)
        self.status: sb.CallStatus = "ok"
        self.lost = False
        self._began = time.monotonic()
        self._until = self._began + self.limits.wall_s
        self._asked_to_stop, self._ask_again = False, 0.0
        self._over = False

    def elapsed_ms(self) -> int:
        return round((time.monotonic() - self._began) * 1000)

    def lose(self, status: sb.CallStatus) -> None:
        """The interpreter cannot go on."""
        self.status, self.lost, self._over = status, True, True
        self.child.kill()

    def events(self) -> Iterator[sb.Event]:
        """Everything until the interpreter is done or gone."""
        while not self._over:
            try:
                frame = self.child.receive(self._until)
            except ChildGone:
                reason = self.child.killed_for
                self.lose(ENDS.get(reason, "crashed"))
                break
            except BadFrame:
                self.lose("crashed")
                break
            if frame is not None:
                yield from self._take(frame)
            if not self._over:
                self._keep_limits()
        yield from self.output.rest()

    def _keep_limits(self) -> None:
        now = time.monotonic()
        if self._asked_to_stop:
            if now >= self._until:
                self.lose("crashed" if self.status in ("ok", "error") else self.status)
            elif now >= self._ask_again:
                self._ask()
        elif self.session._cancelled:
            self._stop("cancelled")
        elif now >= self._until:
            self._stop("timeout")
        elif self.output.dropped > FLOOD:
            self._stop("error")

    def _stop(self, status: sb.CallStatus) -> None:
        """First ask; who does not listen within the grace time is killed."""
        self.status, self._asked_to_stop = status, True
        self._until = time.monotonic() + self.limits.grace_s
        self._ask()

    def _ask(self) -> None:
        """Again after a while: a cell that has only just begun does not notice."""
        self._ask_again = time.monotonic() + ASK_EVERY
        try:
            self.session._interpreter.interrupt(self.id)
        except ChildGone:
            self.lose("crashed")

    def _take(self, frame: Frame) -> Iterator[sb.Event]:
        match frame.kind:
            case "text" | "result" | "display" | "error":
                yield from self.output.take(frame)
            case "done" if frame.header.get("call") == self.id:
                self._done(frame)
            case "fatal":
                self.lose("crashed")
            case _:  # left over from an earlier call, or not from the harness
                pass

    def _done(self, frame: Frame) -> None:
        self._over = True
        if self.status == "ok" and frame.header.get("ok") is not True:
            self.status = "error"
        exhausted = frame.number("heap") >= 0.95 * (self.limits.memory_mb << 20)
        if exhausted and self.output.last_error == "MemoryError":
            self.lose("oom")  # memory is never given back: nothing would work any more


class _dead_if_gone:  # noqa: N801 - reads as a statement
    """Turns the death of the interpreter into the session's."""

    def __init__(self, session: InterpreterSession) -> None:
        self.session = session

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, exc: BaseException | None, trace: object) -> None:
        if isinstance(exc, (ChildGone, BadFrame)):
            self.session._die()
            raise sb.SessionDead(str(exc)) from exc


def _up_to(left: int, chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise sb.FilesRefused("more bytes of files than a container may have")
        yield chunk


def check_path(path: str) -> None:
    """Raises FilesRefused for what is not a plain path below /mnt/data."""
    parts = path.split("/")
    if len(path) > 512 or "\0" in path or not all(parts) or {".", ".."} & set(parts):
        raise sb.FilesRefused(f"{path[:100]!r} is no path below {sb.DATA_FOLDER}")
