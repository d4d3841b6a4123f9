"""A time limit for the many short waits of one reader.

It does what ``asyncio.timeout_at`` does, with one timer in place of one for each wait: where every
token is a wait of its own, those cost a tenth of the whole.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self


class ReadLimit:
    """``with limit.until(due): await ...`` raises TimeoutError when ``due`` (on the loop's clock)
    comes first. One wait at a time; ``close`` when there will be no more."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None  # while it waits
        self._due = 0.0
        self._cancelling = 0
        self._expired = False

    def until(self, due: float) -> Self:
        self._due = due
        return self

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling, self._expired = task, task.cancelling(), False
        if self._timer is None or self._timer.when() > self._due:
            self._set_timer()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        assert task is not None
        # Somebody else may have cancelled the task as well: that goes on.
        if self._expired and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from exc

    def expire(self) -> None:
        """End the present wait, if there is one."""
        if self._task is not None and not self._expired:
            self._expired = True
            self._task.cancel()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self) -> None:
        self.close()
        self._timer = self._loop.call_at(self._due, self._ring)

    def _ring(self) -> None:
        """Mostly much too early: waits that ended have moved the limit."""
        self._timer = None
        if self._task is None:
            return
        if self._loop.time() >= self._due:
            self.expire()
        else:
            self._set_timer()
