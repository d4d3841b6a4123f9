"""Turns of a scripted upstream, asked for in a loop of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from apps.api.protocol.context import Context
from apps.api.protocol.deltas import Delta, ReasoningDelta, TextDelta
from apps.api.upstream.client import ChatTurn, ChatUpstream, Turn, close_http_client
from apps.api.upstream.errors import UpstreamError
from tests.scripted_vllm import ScriptedVLLM

T = TypeVar("T")

PATIENCE = 20.0


def in_loop(scenario: Callable[[], Awaitable[T]]) -> T:
    """Run a scenario; the HTTP client belongs to its loop."""

    async def whole() -> T:
        try:
            async with asyncio.timeout(PATIENCE):
                return await scenario()
        finally:
            await close_http_client()

    return asyncio.run(whole())


def context(**more: Any) -> Context:
    part = {"type": "input_text", "text": "Hi"}
    message = {"type": "message", "id": "msg_1", "role": "user", "content": [part]}
    return Context(**{"model": "tiny", "items": [message], **more})


async def opened(
    upstream: ChatUpstream | None = None, *, within: float = PATIENCE, **more: Any
) -> Turn:
    """A turn that the upstream has accepted."""
    deadline = asyncio.get_running_loop().time() + within
    return await (upstream or ChatUpstream()).open(
        context(**more), request_id="req_1", deadline=deadline
    )


async def read_all(turn: Turn) -> tuple[list[Delta], UpstreamError | None]:
    """All deltas and the error that ended them; closes the turn."""
    deltas: list[Delta] = []
    try:
        while (read := await turn.read()) is not None:
            assert read, "a read gives something or is the last"
            deltas += read
    except UpstreamError as exc:
        return deltas, exc
    finally:
        await turn.close()
    return deltas, None


def ask(**more: Any) -> tuple[list[Delta], UpstreamError | None]:
    """One turn from beginning to end, or the error that it ends with."""

    async def scenario() -> tuple[list[Delta], UpstreamError | None]:
        try:
            turn = await opened(**more)
        except UpstreamError as exc:
            return [], exc
        return await read_all(turn)

    return in_loop(scenario)


def text_of(deltas: list[Delta]) -> str:
    return "".join(d.text for d in deltas if isinstance(d, TextDelta | ReasoningDelta))


def is_reading(turn: Turn) -> bool:
    """Whether a read is waiting for bytes."""
    assert isinstance(turn, ChatTurn)
    return turn._limit._task is not None


def all_aborted(server: ScriptedVLLM) -> bool:
    """Whether the client left every request that arrived: on a loaded machine, none may have."""
    return all(request.aborted.is_set() for request in server.requests)
