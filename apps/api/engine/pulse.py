"""Once a second: shows what was counted, and measures the process that counts."""

from __future__ import annotations

import asyncio
import contextlib
import os

from apps import metering, metrics

PERIOD = 1.0
PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Pulse:
    """Beats from ``start`` to ``stop``, in the running loop."""

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def start(self) -> None:
        """Harmless when called again."""
        if self._timer is None:
            self._wind()

    def stop(self) -> None:
        """The last beat."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        metering.flush()

    def _wind(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + PERIOD
        self._timer = loop.call_at(self._due, self._beat)

    def _beat(self) -> None:
        metrics.loop_lag_seconds.observe(asyncio.get_running_loop().time() - self._due)
        measure()
        metering.flush()
        self._wind()


def measure() -> None:
    """This process's memory and descriptors, where the system tells them."""
    with contextlib.suppress(OSError), open("/proc/self/statm", encoding="ascii") as statm:
        metrics.resident_bytes.set(int(statm.read().split()[1]) * PAGE)
    with contextlib.suppress(OSError):
        metrics.open_files.set(len(os.listdir("/proc/self/fd")))
