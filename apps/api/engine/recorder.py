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
from structlog.contextvars import bind_contextvars

from apps.api import tracing
from apps.api.conf import conf
from apps.api.engine.ends import report
from apps.api.engine.process import process
from apps.api.errors import ApiError
from apps.api.protocol.composer import Outcome, ResponseComposer
from apps.api.protocol.items.base import OutputItem
from apps.api.protocol.ready_turns import KINDS
from apps.api.protocol.response import Status
from apps.api.protocol.types import Item
from apps.api.upstream.client import Upstream
from apps.api.upstream.payload import lasting_messages
from apps.store.db import in_writer, in_writer_together
from apps.store.errors import StoreUnavailable
from apps.store.responses import Ending, begin_response, finish_responses
from apps.store.snapshots import ItemText, RunSnapshot

log = structlog.stdlib.get_logger(__name__)

LAST_WRITE = 8.0
"""Seconds for the end of a run whose client is gone: below what the server waits for."""


class Recorder:
    """``run`` is filled as the run goes on; ``input_items`` are those to keep. It began at
    ``since``, by the clock of the loop, or just now."""

    def __init__(
        self,
        run: RunSnapshot,
        *,
        input_items: Sequence[Item],
        upstream: Upstream,
        since: float | None = None,
    ) -> None:
        self.run = run
        bind_contextvars(response_id=run.id)
        self._span = tracing.begin_run(gateway__response_id=run.id)
        self._upstream = upstream
        self._input = input_items
        self._started = asyncio.get_running_loop().time() if since is None else since
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

    def abandon(self, composer: ResponseComposer) -> bool:
        """The client is gone: keep what was complete, as a cancelled response. An end that is
        being written stays what it is: gives False then."""
        if self._ending is not None:
            return False
        outcome = Outcome(status=Status.CANCELLED, at=int(datetime.now(UTC).timestamp()))
        composer.finish(outcome)
        self._ending = process.afterwards(self._write_end(composer, outcome, limit=LAST_WRITE))
        return True

    async def _write_end(
        self, composer: ResponseComposer, outcome: Outcome, *, limit: float | None = None
    ) -> bool:
        self._stop_timer()
        if self._begun is not None:
            await asyncio.wait([self._begun])
        self._fill(composer, outcome)
        try:
            ending = Ending(self.run, begun=self._begun is not None)
            writing = in_writer_together(finish_responses, ending)
            stored = await (writing if limit is None else asyncio.wait_for(writing, limit))
        except (StoreUnavailable, TimeoutError) as exc:
            log.error("response not stored", response_id=self.run.id, error=str(exc))
            process.unsettled(self.run.id)
            report(self.run, self._span, stored=False)
            return False
        report(self.run, self._span, stored=stored)
        if not stored:
            log.error("response is this process's no more", response_id=self.run.id)
        return stored

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
            run.messages = _messages(self._input, run.output)

    def _elapsed(self) -> int:
        return round((asyncio.get_running_loop().time() - self._started) * 1000)


def _messages(given: Sequence[Item], output: Sequence[ItemText]) -> str | None:
    """What the run adds to later prompts. Calls, which may hold megabytes, are not parsed for it."""
    if not KINDS.issuperset(item.kind for item in output):
        return None
    try:
        return lasting_messages([*given, *(orjson.loads(item.json) for item in output)])
    except Exception:  # the items are what counts, and are still to be written
        log.exception("messages of a response are not kept")
        return None


def _text(item: Item) -> ItemText:
    return ItemText(item["id"], item["type"], orjson.dumps(item))


def _output_text(item: OutputItem) -> ItemText:
    return ItemText(item.id, item.type, item.to_stored())
