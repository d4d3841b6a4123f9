"""The heart: one generator computes a response. Edges only host it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator

import structlog

from apps.api.engine.failures import from_upstream
from apps.api.engine.recorder import Recorder
from apps.api.engine.turn import Opening
from apps.api.errors import ApiError
from apps.api.protocol.composer import Outcome, ResponseComposer
from apps.api.protocol.deltas import Delta, Finish, TurnEnd
from apps.api.protocol.events import Event
from apps.api.protocol.response import IncompleteDetails, Status
from apps.api.upstream.errors import UpstreamError

log = structlog.stdlib.get_logger(__name__)

REASONS = {
    Finish.LENGTH: IncompleteDetails(reason="max_output_tokens"),
    Finish.CONTENT_FILTER: IncompleteDetails(reason="content_filter"),
}


async def respond(
    opening: Opening, *, composer: ResponseComposer, recorder: Recorder
) -> AsyncGenerator[list[Event], None]:
    """Yield the events of one response, in batches as they come, until it is terminal.

    The end is stored before it is announced; what cannot be stored has failed. Cancelling, or
    closing the generator, leaves the response without an end: the host says what became of it.
    """
    yield composer.start()
    finish = Finish.STOP
    try:
        async with opening as turn:
            while (deltas := await turn.read()) is not None:
                recorder.token()
                if events := composer.feed(deltas):
                    yield events
                finish = _finish_of(deltas) or finish
        outcome = _outcome(finish)
    except Exception as exc:
        outcome = failure(exc, opening, recorder)
    closing = composer.finish(outcome)
    if not await recorder.finish(composer, outcome):
        error = ApiError("The response could not be stored.", status=503, code="server_error")
        recorder.failed("store", error, upstream_status=None)
        composer.finish(_failed(error))
    yield [*closing, *composer.announce()]


def _finish_of(deltas: list[Delta]) -> Finish | None:
    last = deltas[-1]
    return last.finish if isinstance(last, TurnEnd) else None


def _outcome(finish: Finish) -> Outcome:
    if finish is Finish.STOP:
        return Outcome(status=Status.COMPLETED, at=_now())
    return Outcome(status=Status.INCOMPLETE, at=_now(), reason=REASONS[finish])


def failure(exc: Exception, opening: Opening, recorder: Recorder) -> Outcome:
    """The one place where whatever goes wrong inside a run becomes its end."""
    if isinstance(exc, UpstreamError):
        error = opening.interruption or from_upstream(exc)
        stage, status = "stream" if opening.accepted else "upstream", exc.status
        log.warning("run failed", response_id=recorder.run.id, stage=stage, error=str(exc))
    else:
        error = ApiError("An internal error occurred.", code="server_error")
        stage, status = "gateway", None
        log.error("run failed", response_id=recorder.run.id, stage=stage, exc_info=exc)
    recorder.failed(stage, error, upstream_status=status)
    return _failed(error)


def _failed(error: ApiError) -> Outcome:
    return Outcome(status=Status.FAILED, at=_now(), error=error.detail)


def _now() -> int:
    return int(time.time())
