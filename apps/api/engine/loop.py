"""The heart: one generator computes a response. Edges only host it."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import structlog

from apps.api.engine.approvals import Decided
from apps.api.engine.dispatch import carry_out
from apps.api.engine.failures import from_upstream
from apps.api.engine.recorder import Recorder
from apps.api.engine.toolbox import ToolBox
from apps.api.engine.turns import Turns
from apps.api.errors import ApiError, let_go
from apps.api.protocol.composer import Outcome, ResponseComposer
from apps.api.protocol.deltas import (
    CallResumed,
    Delta,
    Finish,
    ToolCallArguments,
    ToolCallStart,
    TurnEnd,
)
from apps.api.protocol.events import Event
from apps.api.protocol.response import IncompleteDetails, Status
from apps.api.upstream.errors import UpstreamError

log = structlog.stdlib.get_logger(__name__)

REASONS = {
    Finish.LENGTH: IncompleteDetails(reason="max_output_tokens"),
    Finish.CONTENT_FILTER: IncompleteDetails(reason="content_filter"),
}


async def respond(
    turns: Turns,
    *,
    composer: ResponseComposer,
    recorder: Recorder,
    tools: ToolBox,
    decided: Decided,
) -> AsyncGenerator[list[Event], None]:
    """Yield the events of one response, in batches as they come, until it is terminal.

    The end is stored before it is announced; what cannot be stored has failed. Cancelling, or
    closing the generator, leaves the response without an end: the host says what became of it.
    """
    yield composer.start()
    try:
        finish = Finish.STOP
        steps = _steps(turns, composer=composer, recorder=recorder, tools=tools, decided=decided)
        async with aclosing(steps) as batches:
            async for deltas in batches:
                if events := composer.feed(deltas):
                    yield events
                finish = _finish_of(deltas) or finish
        outcome = _outcome(finish)
    except Exception as exc:
        outcome = failure(exc, turns, recorder)
    recorder.run.turns = turns.count
    closing = composer.finish(outcome)
    if not await recorder.finish(composer, outcome) and recorder.error is None:
        error = ApiError("The response could not be stored.", status=503, code="server_error")
        recorder.failed("store", error, upstream_status=None)
        composer.finish(failed(error))
    yield [*closing, *composer.announce()]


async def _steps(
    turns: Turns,
    *,
    composer: ResponseComposer,
    recorder: Recorder,
    tools: ToolBox,
    decided: Decided,
) -> AsyncGenerator[list[Delta], None]:
    """What happens, as deltas: tools are listed, approved calls run, then the model has its turn
    and the gateway runs what it called, until the model has said all or the client is to act."""
    yield [
        *tools.announcements(turns.context.items),
        *decided.approved,
        *_asked_again(decided.stale),
    ]
    models_turn = not decided  # approved calls run before the model says anything
    while True:
        if models_turn:
            finish = Finish.STOP
            async with turns.ask() as turn:
                while (said := await turn.read()) is not None:
                    recorder.token()
                    yield said
                    finish = _finish_of(said) or finish
            if finish is not Finish.STOP:
                return
        models_turn = True
        async with aclosing(_carry_out(turns, composer, tools)) as batches:
            async for deltas in batches:
                yield deltas
        if not composer.wants_turn:
            return
        if not turns.advance(composer, tools.pictures.shown):
            yield [TurnEnd(Finish.LENGTH, None)]
            return


async def _carry_out(
    turns: Turns, composer: ResponseComposer, tools: ToolBox
) -> AsyncGenerator[list[Delta], None]:
    """Run the calls that wait."""
    calls = composer.waiting
    if not calls:
        return
    work = carry_out(calls, tools, deadline=turns.deadline, interrupted=turns.interrupted)
    async with aclosing(work) as batches:
        async for deltas in batches:
            yield deltas


def _asked_again(calls: Sequence[CallResumed]) -> list[Delta]:
    """As if the model had called: what needs approval becomes a request for it."""
    if not calls:
        return []
    deltas: list[Delta] = []
    for number, call in enumerate(calls):
        deltas += [ToolCallStart(number, call.name), ToolCallArguments(number, call.arguments)]
    return [*deltas, TurnEnd(Finish.STOP, None)]


def _finish_of(deltas: list[Delta]) -> Finish | None:
    last = deltas[-1] if deltas else None
    return last.finish if isinstance(last, TurnEnd) else None


def _outcome(finish: Finish) -> Outcome:
    if finish is Finish.STOP:
        return Outcome(status=Status.COMPLETED, at=_now())
    return Outcome(status=Status.INCOMPLETE, at=_now(), reason=REASONS[finish])


def failure(exc: Exception, turns: Turns, recorder: Recorder) -> Outcome:
    """The one place where whatever goes wrong inside a run becomes its end."""
    if isinstance(exc, UpstreamError):
        error = turns.interruption or from_upstream(exc)
        begun = turns.accepted or turns.count > 1
        stage, status = "stream" if begun else "upstream", exc.status
        log.warning("run failed", response_id=recorder.run.id, stage=stage, error=str(exc))
    else:
        error = ApiError("An internal error occurred.", code="server_error")
        stage, status = "gateway", None
        log.error("run failed", response_id=recorder.run.id, stage=stage, exc_info=exc)
    recorder.failed(stage, error, upstream_status=status)
    let_go(exc)
    return failed(error)


def failed(error: ApiError) -> Outcome:
    """The end of a response for which this error is the reason."""
    return Outcome(status=Status.FAILED, at=_now(), error=error.detail)


def _now() -> int:
    return int(time.time())
