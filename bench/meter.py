"""CPU time and memory of a process with its children, over a stretch of time."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psutil  # type: ignore[import-untyped]  # it has no stubs

EVERY = 0.1
"""Seconds between two looks at the memory."""


class Meter:
    """A context manager; the figures are those of the time within."""

    def __init__(self, pid: int) -> None:
        root = psutil.Process(pid)
        self._processes = [root, *root.children(recursive=True)]
        self._left = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self.cpu_seconds = 0.0
        self.peak_memory = 0

    def __enter__(self) -> Self:
        self.cpu_seconds = -self.cpu()
        self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.cpu_seconds += self.cpu()
        self._left.set()
        self._watcher.join()

    def cpu(self) -> float:
        """Seconds since the processes began."""
        times = [process.cpu_times() for process in self._processes]
        return float(sum(time.user + time.system for time in times))

    def memory(self) -> int:
        """Resident bytes now."""
        return sum(process.memory_info().rss for process in self._processes)

    def _watch(self) -> None:
        while True:
            self.peak_memory = max(self.peak_memory, self.memory())
            if self._left.wait(EVERY):
                return
