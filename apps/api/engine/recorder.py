"""Keeps the row of one run: visible while it lasts, its end written once.

A short run costs one write, a long one two. Runs that are not stored are written after their end
and without content.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import orjson
import structlog

from apps.api.conf import conf
from apps.api.engine.process import process
from apps.api.errors import ApiError
from apps.api.protocol.composer import Outcome, ResponseComposer
from apps.api.protocol.items.base import OutputItem
from apps.api.protocol.response import Status
from apps.api.protocol.types import Item, JSONObject
from apps.api.upstream.client import Upstream
from apps.store import history_cache
from apps.store.db import in_writer
from apps.store.errors import StoreUnavailable
from apps.store.responses import begin_response, finish_response
from apps.store.snapshots import History, ItemText, RunSnapshot, StoredTurn

log = structlog.stdlib.get_logger(__name__)

LAST_WRITE = 8.0
"""Seconds for the end of a run whose client is gone: below what the server waits for."""


class Recorder:
    """``run`` is filled as the run goes on; ``input`` are the items to keep."""

    def __init__(
        self,
        run: RunSnapshot,
        *,
        input_items: Sequence[Item],
        history: History | None,
        upstream: Upstream,
    ) -> None:
        self.run = run
        self._upstream = upstream
        self._input, self._history = input_items, history
        self._started = asyncio.get_running_loop().time()
        self._timer: asyncio.TimerHandle | None = None
        self._begun: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[bool] | None = None
        self.error: ApiError | None = None

    # --- While it runs ------------------------------------------------------------------------

    def start(self, composer: ResponseComposer) -> None:
        """Make the run visible if it is not over soon."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(conf.VISIBLE_AFTER, self._begin, composer)

    def token(self) -> None:
        """The model's first sign of life; later ones change nothing."""
        if self.run.first_token_ms is None:
            self.run.first_token_ms = self._elapsed()

    def failed(self, stage: str, error: ApiError, *, upstream_status: int | None) -> None:
        """Where and why the run failed."""
        self.error = error
        self.run.error_stage, self.run.error_code = stage, error.code or "server_error"
        self.run.upstream_status = upstream_status

    def _begin(self, composer: ResponseComposer) -> None:
        self.run.body = composer.body()
        self.run.input = [_text(item) for item in self._input] if self.run.kept else ()
        self._begun = asyncio.create_task(self._write_begin())

    async def _write_begin(self) -> None:
        try:
            await in_writer(begin_response, self.run)
        except StoreUnavailable as exc:  # made up for at the end
            log.warning("run not visible yet", response_id=self.run.id, error=str(exc))

    # --- Its end ------------------------------------------------------------------------------

    async def finish(self, composer: ResponseComposer, outcome: Outcome) -> bool:
        """Store the settled end; only after that may it be announced.

        False when it could not be stored, or is not ours to tell any more. A client that leaves
        meanwhile changes nothing.
        """
        self._ending = process.afterwards(self._write_end(composer, outcome))
        return await asyncio.shield(self._ending) if self.run.kept else True

    def refused(self, composer: ResponseComposer, outcome: Outcome) -> ApiError:
        """The request gets an HTTP error instead of a response: only operators will see the run,
        unless it was visible before. Gives the error."""
        assert self.error is not None
        self._stop_timer()
        if self._begun is None:
            self.run.kept = False
        composer.finish(outcome)
        self._ending = process.afterwards(self._write_end(composer, outcome))
        return self.error

    def abandon(self, composer: ResponseComposer) -> None:
        """The client is gone: keep what was complete, as a cancelled response. An end that is
        being written stays what it is."""
        if self._ending is None:
            outcome = Outcome(status=Status.CANCELLED, at=int(datetime.now(UTC).timestamp()))
            composer.finish(outcome)
            self._ending = process.afterwards(self._write_end(composer, outcome, limit=LAST_WRITE))

    async def _write_end(
        self, composer: ResponseComposer, outcome: Outcome, *, limit: float | None = None
    ) -> bool:
        self._stop_timer()
        if self._begun is not None:
            await asyncio.wait([self._begun])
        self._fill(composer, outcome)
        try:
            async with asyncio.timeout(limit):
                stored = await in_writer(finish_response, self.run, begun=self._begun is not None)
        except (StoreUnavailable, TimeoutError) as exc:
            log.error("response not stored", response_id=self.run.id, error=str(exc))
            process.unsettled(self.run.id)
            return False
        if not stored:
            log.error("response is this process's no more", response_id=self.run.id)
        elif self.run.kept and history_cache.enabled():
            process.afterwards(self._cache(self._chain(composer, outcome)))
        return stored

    async def _cache(self, history: History) -> None:
        """In a thread that the database does not need: a cache may be slow."""
        await asyncio.to_thread(history_cache.put, self.run.project_id, self.run.id, history)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _fill(self, composer: ResponseComposer, outcome: Outcome) -> None:
        run = self.run
        run.status, run.ended_at = outcome.status.value, datetime.now(UTC)
        run.duration_ms, run.upstream_attempts = self._elapsed(), self._upstream.attempts
        if usage := composer.usage:
            run.input_tokens, run.cached_tokens = usage.input_tokens, usage.cached_tokens
            run.output_tokens, run.reasoning_tokens = usage.output_tokens, usage.reasoning_tokens
        run.tool_calls = len(composer.calls)
        if run.kept:
            run.body = composer.body()
            if not run.input:
                run.input = [_text(item) for item in self._input]
            run.output = [_output_text(item) for item in composer.output]

    def _chain(self, composer: ResponseComposer, outcome: Outcome) -> History:
        """The history that a continuation of this run will need."""
        output: list[JSONObject] = [orjson.loads(item.to_json()) for item in composer.output]
        turn = StoredTurn(outcome.status is Status.COMPLETED, [*self._input, *output])
        if self._history is None:
            return History(root_id=self.run.id, revision=0, turns=[turn])
        return History(
            root_id=self._history.root_id,
            revision=self._history.revision,
            turns=[*self._history.turns, turn],
        )

    def _elapsed(self) -> int:
        return round((asyncio.get_running_loop().time() - self._started) * 1000)


def _text(item: Item) -> ItemText:
    return ItemText(item["id"], item["type"], orjson.dumps(item))


def _output_text(item: OutputItem) -> ItemText:
    json = item.to_json()
    return ItemText(item.id, orjson.loads(json)["type"], json)
