"""This process: its lease in the database, the runs under way, whether it is draining.

Memory holds here what belongs to one process by nature, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Collection, Coroutine
from typing import Any, Protocol, TypeVar

import structlog

from apps import metrics
from apps.api import tracing
from apps.api.engine.pulse import Pulse
from apps.api.errors import ApiError, InvalidRequest, Unavailable
from apps.api.upstream.client import close_http_client
from apps.store import leases
from apps.store.conf import conf as store_conf
from apps.store.db import in_writer
from apps.store.errors import StoreUnavailable
from apps.store.responses import deleted_among, give_up

T = TypeVar("T")

log = structlog.stdlib.get_logger(__name__)

DRAINING = "The gateway is shutting down."
DELETED = "The response was deleted while it ran."

RETRY = 1.0
"""Seconds after which a lease that could not be renewed is tried again: it may just be saved."""


class Endable(Protocol):
    """A run that can be told to end."""

    @property
    def response_id(self) -> str: ...

    def interrupt(self, error: ApiError) -> None: ...


class Process:
    """Started by our server when its loop runs, elsewhere by the first run."""

    def __init__(self) -> None:
        self.draining = False
        self._runs: set[Endable] = set()
        self._unsettled: set[str] = set()
        self._owner: str | None = None
        self._valid_until = 0.0  # on the loop's clock, never later than on the database's
        self._leasing = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._afterwards: set[asyncio.Task[Any]] = set()
        self._pulse = Pulse()

    # --- Lease --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Take a lease, bury the dead, and go on doing so. Harmless when called again."""
        self._pulse.start()
        if self._keeper is None or self._keeper.done():
            self._keeper = asyncio.create_task(self._keep(), context=contextvars.Context())

    async def owner(self) -> str:
        """The owner id for a new run, with a lease that has not run out. Raises
        StoreUnavailable."""
        await self.start()
        if self._owner is None or self._clock() >= self._valid_until:
            async with self._leasing:
                if self._owner is None or self._clock() >= self._valid_until:
                    return await self._hold()
        return self._owner

    async def stop(self) -> None:
        """End the housekeeping: what is left to write gets a few seconds."""
        if self._keeper is not None:
            self._keeper.cancel()
        if self._afterwards:
            await asyncio.wait(self._afterwards, timeout=5)
        owner, self._owner = self._owner, None
        if owner is not None:
            try:
                await in_writer(leases.release, owner)
            except StoreUnavailable:
                log.warning("lease not released: it will run out")
        await close_http_client()
        self._pulse.stop()
        await asyncio.to_thread(tracing.close)

    async def _keep(self) -> None:
        """Renew the lease three times as often as it runs out, sweep as often; see which runs
        others have deleted."""
        period = store_conf.LEASE_SECONDS / 3
        beat = 0
        while True:
            pause = period
            try:
                async with self._leasing:
                    await self._hold()
                if unsettled := frozenset(self._unsettled):
                    await in_writer(give_up, unsettled)
                    self._unsettled -= unsettled
                if running := [run.response_id for run in self._runs]:
                    self.end_deleted(await in_writer(deleted_among, running))
                if beat % 3 == 0 and (count := await in_writer(leases.sweep)):
                    metrics.runs_lost.add(amount=count)
                    log.warning("runs of dead processes marked failed", count=count)
                beat += 1
            except StoreUnavailable as exc:
                log.warning("lease not renewed", error=str(exc))
                pause = min(period, RETRY)
            await asyncio.sleep(pause)

    async def _hold(self) -> str:
        """Renew the lease, or take a new one; one at a time, since each is a different owner."""
        asked = self._clock()
        if self._owner is None or not await in_writer(leases.renew, self._owner):
            self._owner = await in_writer(leases.acquire)
        self._valid_until = asked + store_conf.LEASE_SECONDS
        return self._owner

    @staticmethod
    def _clock() -> float:
        return asyncio.get_running_loop().time()

    # --- Runs ---------------------------------------------------------------------------------

    @property
    def active(self) -> int:
        """The number of runs under way, with what they still have to write."""
        return len(self._runs) + len(self._afterwards)

    def check_open(self) -> None:
        """Raise Unavailable when no new work is taken."""
        if self.draining:
            raise Unavailable(DRAINING, retry_after=2)

    def add(self, run: Endable) -> None:
        self._runs.add(run)
        metrics.runs_open.set(len(self._runs))

    def discard(self, run: Endable) -> None:
        self._runs.discard(run)
        metrics.runs_open.set(len(self._runs))

    def end_all(self) -> None:
        """Make every run end with a terminal event."""
        for run in list(self._runs):
            run.interrupt(Unavailable(DRAINING, code="server_error"))

    def end_deleted(self, response_ids: Collection[str]) -> None:
        """Make the runs of deleted responses end, as far as they are this process's."""
        for run in [run for run in self._runs if run.response_id in response_ids]:
            run.interrupt(InvalidRequest(DELETED, code="response_deleted", status=410))

    def unsettled(self, response_id: str) -> None:
        """The end of this run could not be written: mark it failed as soon as that is possible.
        The lease goes on, so nobody else would."""
        self._unsettled.add(response_id)

    def afterwards(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do something that outlives the request that asked for it."""
        task = asyncio.create_task(work, context=contextvars.Context())
        self._afterwards.add(task)
        task.add_done_callback(self._afterwards.discard)
        return task


process = Process()
