"""Child processes of tests: started, listened to, and gone when the test ends."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 30.0  # seconds that anything may take on a loaded machine


def eventually(check: Callable[[], T | None], *, limit: float = LIMIT, what: str = "") -> T:
    """Call until the answer is neither None nor False."""
    deadline = time.monotonic() + limit
    while True:
        answer = check()
        if answer is not None and answer is not False:
            return answer
        assert time.monotonic() < deadline, f"not within {limit} s: {what or check}"
        time.sleep(0.02)


class Program:
    """A child whose output, both streams together, is collected line by line."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=env,
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                self.lines.append(line.rstrip("\n"))

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def line(self, part: str, *, limit: float = LIMIT) -> str:
        """The first line that contains the text; waits for it."""

        def find() -> str | None:
            found = next((line for line in list(self.lines) if part in line), None)
            if found is None and not self.reader.is_alive():
                raise AssertionError(f"ended without {part!r}:\n{self.output}")
            return found

        deadline = time.monotonic() + limit
        while (found := find()) is None:
            assert time.monotonic() < deadline, f"no {part!r} within {limit} s:\n{self.output}"
            time.sleep(0.02)
        return found

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, *, limit: float = LIMIT) -> int:
        """The exit status."""
        status = self.process.wait(limit)
        self.reader.join(limit)
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
