"""One upstream call: from the request to the last delta, with a way to end it from outside."""

from __future__ import annotations

import asyncio
from types import TracebackType

from apps.api.errors import ApiError
from apps.api.protocol.context import Context
from apps.api.upstream.client import Turn, Upstream
from apps.api.upstream.errors import UpstreamBroke


class Opening:
    """Asks for a turn at once, in a task of its own: storing, and the first events, need not wait.

    ``accepted`` tells whether the upstream has taken the request; ``interruption`` is the error
    that ended the turn from outside.
    """

    def __init__(
        self, upstream: Upstream, context: Context, *, request_id: str, deadline: float
    ) -> None:
        self.accepted = False
        self.interruption: ApiError | None = None
        self._task = asyncio.create_task(
            upstream.open(context, request_id=request_id, deadline=deadline)
        )

    async def wait(self, window: float | None) -> None:
        """Wait for the upstream's verdict, at most ``window`` seconds. Raises UpstreamError when
        it refused; says nothing when it has not decided yet."""
        if window is not None and not (await asyncio.wait({self._task}, timeout=window))[0]:
            return
        await self._verdict()

    async def __aenter__(self) -> Turn:
        turn = await self._verdict()
        self.accepted = True
        return turn

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def interrupt(self, error: ApiError) -> None:
        """End the turn: whoever reads it gets an UpstreamError, whose place ``error`` takes."""
        self.interruption = error
        if not self._task.done():
            self._task.cancel()
        elif (turn := self._turn) is not None:
            turn.interrupt()

    async def close(self) -> None:
        """Let go of the upstream, which stops what it still generates. May be called again."""
        if not self._task.done():
            self._task.cancel()
        elif (turn := self._turn) is not None:
            await turn.close()

    async def _verdict(self) -> Turn:
        try:
            return await self._task
        except asyncio.CancelledError:
            if self.interruption is None:
                raise
            raise UpstreamBroke("The turn was interrupted.") from None

    @property
    def _turn(self) -> Turn | None:
        """The turn, once the upstream has accepted it."""
        if self._task.cancelled() or self._task.exception() is not None:
            return None
        return self._task.result()
