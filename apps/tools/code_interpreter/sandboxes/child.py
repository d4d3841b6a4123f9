"""A process that speaks frames on its stdin and stdout, in a process group of its own."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from apps.tools.code_interpreter.sandboxes.frames import BadFrame, Decoder, Frame, encode

SLICE = 0.1  # seconds after which a waiting reader looks at what other threads want
READ = 1 << 18

KillReason: TypeAlias = Literal["oom", "disk", "idle", "closed"]


class ChildGone(Exception):
    """The process has ended, or does not take what it is sent."""


class Child:
    """One thread at a time sends requests and receives; any thread may signal or kill."""

    def __init__(
        self, argv: Sequence[str], env: dict[str, str], *, keep: Sequence[int] = ()
    ) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - our own programs
            argv,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=keep,
            cwd="/",
            bufsize=0,
        )
        self.pid = self.process.pid
        self.killed_for: KillReason | None = None
        self.decoder = Decoder()
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        self._stdin, self._stdout = stdin, stdout
        os.set_blocking(stdin.fileno(), False)
        self._writing = threading.Lock()

    def send(self, header: dict[str, Any], body: bytes = b"", *, within: float = 10) -> None:
        """Write one frame. Raises ChildGone."""
        data = memoryview(encode(header, body))
        deadline = time.monotonic() + within
        with self._writing:
            try:
                while data:
                    if not select.select((), (self._stdin,), (), SLICE)[1]:
                        if time.monotonic() > deadline:
                            raise ChildGone("it does not read")
                        continue
                    data = data[os.write(self._stdin.fileno(), data) :]
            except (OSError, ValueError) as exc:
                raise ChildGone(str(exc)) from exc

    def receive(self, until: float) -> Frame | None:
        """The next frame, or None after a slice of time or at ``until`` (monotonic seconds).
        Raises ChildGone and BadFrame."""
        while (frame := self.decoder.next()) is None:
            wait = min(SLICE, max(0.0, until - time.monotonic()))
            try:
                if not select.select((self._stdout,), (), (), wait)[0]:
                    return None
                data = os.read(self._stdout.fileno(), READ)
            except (OSError, ValueError) as exc:
                raise ChildGone(str(exc)) from exc
            if not data:
                raise ChildGone("it has ended")
            self.decoder.feed(data)
        return frame

    def expect(self, kind: str, *, within: float) -> Frame:
        """The next frame of this kind; what comes before it is dropped. Raises ChildGone."""
        until = time.monotonic() + within
        try:
            while time.monotonic() < until:
                frame = self.receive(until)
                if frame is not None and frame.kind == kind:
                    return frame
                if frame is not None and frame.kind == "fatal":
                    raise ChildGone(frame.body.decode("utf-8", "replace"))
        except BadFrame as exc:
            raise ChildGone(str(exc)) from exc
        raise ChildGone(f"no {kind!r} in time")

    def kill(self, reason: KillReason | None = None) -> None:
        """SIGKILL to the whole group; at once, and for good."""
        self.killed_for = self.killed_for or reason
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def reap(self) -> None:
        """After ``kill``: collect the process and close the pipes."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        with self._writing:
            self._stdin.close()
        self._stdout.close()

    def usage(self) -> tuple[int, float] | None:
        """Resident bytes and CPU seconds of the process and its descendants; None where the
        system does not tell."""
        try:
            processes = family(self.pid)
            return sum(map(_resident, processes)), sum(map(_cpu, processes))
        except (OSError, ValueError, IndexError):
            return None


def family(pid: int) -> list[int]:
    """The process and its descendants, parents first."""
    found, queue = [], [pid]
    while queue:
        found.append(pid := queue.pop())
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for children in Path(f"/proc/{pid}/task").glob("*/children"):
                queue += map(int, children.read_text().split())
    return found


_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS
