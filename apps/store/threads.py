"""Threads that do one thing after another for coroutines.

An executor of ``concurrent.futures`` has two futures, their locks and their callbacks for each
thing; a request needs three of them, and each would cost as much as its statement. What many
requests want at the same time can be done as one thing.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

MOST_TOGETHER = 64

Work = Callable[[list[T]], Sequence[R | Exception]]
"""Has a result, or an error, for each thing that is asked for."""


class _Job:
    """What a thread does next, and who waits for it."""

    __slots__ = ("futures", "items", "loop", "work")

    def __init__(self, work: Work[Any, Any], loop: asyncio.AbstractEventLoop) -> None:
        self.work, self.loop = work, loop
        self.items: list[Any] = []
        self.futures: list[asyncio.Future[Any]] = []

    def add(self, item: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self.loop.create_future()
        self.items.append(item)
        self.futures.append(future)
        return future

    def do(self) -> None:
        wanted = [not future.cancelled() for future in self.futures]
        if not any(wanted):
            return
        items = [item for item, still in zip(self.items, wanted, strict=True) if still]
        futures = [future for future, still in zip(self.futures, wanted, strict=True) if still]
        results: Sequence[Any]
        try:
            results = self.work(items)
        except BaseException as exc:
            results = [exc] * len(items)
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            self.loop.call_soon_threadsafe(_settle, futures, results)


class Threads:
    """So many threads, which live as long as the process; what they do must not last. Cancelling
    who waits keeps a thing from being begun, not from being ended."""

    def __init__(self, number: int, *, name: str) -> None:
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._open: dict[Work[Any, Any], _Job] = {}  # not begun yet, so they may grow
        self._lock = threading.Lock()
        for each in range(number):
            threading.Thread(target=self._serve, name=f"{name}-{each}", daemon=True).start()

    async def run(self, work: Callable[[], R]) -> R:
        """Have it done."""
        job = _Job(lambda _: [work()], asyncio.get_running_loop())
        future = job.add(None)
        self._put(job)
        result: R = await future
        return result

    async def together(self, work: Work[T, R], item: T) -> R:
        """Have it done with what others want of the same work before it is begun."""
        loop = asyncio.get_running_loop()
        with self._lock:
            job = self._open.get(work)
            is_new = job is None or job.loop is not loop or len(job.items) >= MOST_TOGETHER
            if job is None or is_new:
                job = self._open[work] = _Job(work, loop)
            future = job.add(item)
        if is_new:
            # When all that are ready now have had their turn: what they want comes along.
            loop.call_soon(self._put, job)
        result: R = await future
        return result

    def _put(self, job: _Job) -> None:
        """Each visit to a thread passes here, to be counted by those who care."""
        self._jobs.put(job)

    def _serve(self) -> None:
        while True:
            job = self._jobs.get()
            with self._lock:
                if self._open.get(job.work) is job:
                    del self._open[job.work]
            job.do()


def _settle(futures: Sequence[asyncio.Future[Any]], results: Sequence[Any]) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.cancelled():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
