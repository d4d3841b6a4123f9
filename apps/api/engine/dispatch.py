"""Carries out the calls of one turn that are the gateway's, side by side where tools allow it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import orjson
import structlog

from apps.api.engine.ends import observed
from apps.api.engine.pictures import Pictures
from apps.api.engine.toolbox import ToolBox, citable
from apps.api.protocol.composer import WaitingCall
from apps.api.protocol.deltas import CallBegan, CallEnded, Delta
from apps.api.protocol.ids import unmarked
from apps.api.protocol.results import (
    INTERRUPTED,
    CallError,
    CallResult,
    ResultPart,
    ResultText,
)
from apps.api.upstream.errors import UpstreamBroke
from apps.tools.base import Part, Text, ToolCall, ToolOutcome, ToolSession

log = structlog.stdlib.get_logger(__name__)

LEAVING = 5.0
"""Seconds that cancelled calls get to let go of what they hold: less than the server waits."""


class Interrupted(UpstreamBroke):
    """The calls were ended from outside."""


async def carry_out(
    calls: Sequence[WaitingCall], tools: ToolBox, *, deadline: float, interrupted: asyncio.Event
) -> AsyncGenerator[list[Delta], None]:
    """Yield what happens until every call has its end. Closing the generator cancels the calls.

    Raises Interrupted as soon as the event is set.
    """
    news: asyncio.Queue[Delta] = asyncio.Queue()
    gates = {id(tools.session(call.offer)): _gate(tools.session(call.offer)) for call in calls}
    tasks = [
        asyncio.create_task(_run(call, tools, gates, news.put_nowait, deadline)) for call in calls
    ]
    stop = asyncio.create_task(interrupted.wait())
    left = len(calls)
    try:
        while left:
            deltas = await _next(news, stop)
            left -= sum(isinstance(delta, CallEnded) for delta in deltas)
            yield deltas
    finally:
        stop.cancel()
        for task in tasks:
            task.cancel()
        await asyncio.wait([stop, *tasks], timeout=LEAVING)


async def _next(news: asyncio.Queue[Delta], stop: asyncio.Task[bool]) -> list[Delta]:
    """All that has happened since."""
    get = asyncio.create_task(news.get())
    try:
        await asyncio.wait({get, stop}, return_when=asyncio.FIRST_COMPLETED)
        if not get.done():
            raise Interrupted("The calls were interrupted.")
        deltas = [get.result()]
    finally:
        get.cancel()
    while not news.empty():
        deltas.append(news.get_nowait())
    return deltas


def _gate(session: ToolSession) -> asyncio.Semaphore:
    return asyncio.Semaphore(max(1, session.concurrency))


async def _run(
    call: WaitingCall,
    tools: ToolBox,
    gates: dict[int, asyncio.Semaphore],
    tell: Callable[[Delta], None],
    deadline: float,
) -> None:
    async with gates[id(tools.session(call.offer))]:
        tell(CallBegan(call.item_id))
        result = INTERRUPTED
        try:
            result = await observed(call, _result(call, tools, deadline))
        finally:
            tell(CallEnded(call.item_id, result))  # whatever happens: the run waits for it


async def _result(call: WaitingCall, tools: ToolBox, deadline: float) -> CallResult:
    """The boundary of the tools: whatever goes wrong there is told to the model."""
    session = tools.session(call.offer)
    arguments, problem = _object(call.arguments)
    if problem is not None:
        return CallResult(error=CallError("tool_error", problem))
    approval = call.approval_request_id
    wanted = ToolCall(
        id=call.item_id,
        name=call.offer.tool,
        arguments=arguments,
        written=call.arguments,
        approval_request_id=None if approval is None else unmarked(approval),
    )
    try:
        async with asyncio.timeout_at(deadline), aclosing(session.run(wanted)) as steps:
            async for step in steps:
                if isinstance(step, ToolOutcome):
                    # Clients never see the images of MCP tools: no address is needed.
                    linked = call.offer.kind == "code_interpreter"
                    return await to_result(step, tools.pictures, linked=linked)
    except TimeoutError:
        return CallResult(error=CallError("unavailable", "The time for this response ran out."))
    except Exception as exc:
        log.error("tool failed", tool=call.offer.kind, call=call.item_id, exc_info=exc)
    return CallResult(error=CallError("unavailable", "The tool failed for an internal reason."))


def _object(arguments: str) -> tuple[dict[str, object], str | None]:
    """The arguments, or what is wrong with them in words for the model."""
    try:
        parsed = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError as exc:
        return {}, f"The arguments are not valid JSON ({exc}). Call again with a JSON object."
    if not isinstance(parsed, dict):
        return {}, "The arguments are not a JSON object. Call again with one."
    return parsed, None


async def to_result(outcome: ToolOutcome, pictures: Pictures, *, linked: bool) -> CallResult:
    """A tool's outcome as items tell it. Large images may be ``linked``."""

    async def told(part: Part) -> ResultPart:
        if isinstance(part, Text):
            return ResultText(part.text)
        return await pictures.result(part, linked=linked)

    failure = outcome.failure
    return CallResult(
        parts=tuple([await told(part) for part in outcome.parts]),
        error=CallError(failure.kind, failure.message, failure.code) if failure else None,
        files=tuple(citable(artifact) for artifact in outcome.artifacts),
    )
