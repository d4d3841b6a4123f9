"""Hosting: starts a run, and takes care of what happens around it.

A run is iterated by its edge: as a stream of events, or collected to one JSON body. A client that
leaves cancels it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from apps.api.engine.approvals import Decided
from apps.api.engine.idempotency import Claim
from apps.api.engine.loop import failure, respond
from apps.api.engine.process import process
from apps.api.engine.recorder import Recorder
from apps.api.engine.toolbox import ToolBox
from apps.api.engine.turns import Turns
from apps.api.errors import ApiError
from apps.api.protocol.composer import ResponseComposer
from apps.api.protocol.events import Event


class Run:
    """The activity that carries one response to its end."""

    def __init__(
        self,
        *,
        turns: Turns,
        composer: ResponseComposer,
        recorder: Recorder,
        tools: ToolBox,
        decided: Decided,
        claim: Claim | None = None,
    ) -> None:
        self._turns, self._composer, self._recorder = turns, composer, recorder
        self._tools, self._decided, self._claim = tools, decided, claim
        if not decided:
            turns.ask()

    @property
    def response_id(self) -> str:
        return self._recorder.run.id

    @property
    def ignored_tools(self) -> str:
        """The declared hosted tools that are not offered here, to be told to the client."""
        return self._recorder.run.ignored_tools

    async def start(self, *, window: float | None) -> None:
        """Wait for the upstream's verdict (decision of the HTTP status), no longer than
        ``window`` seconds. Raises ApiError when it is an error. A run that begins with approved
        calls does not ask the upstream yet.

        Nothing may be awaited between this and the first step of ``events``.
        """
        process.add(self)
        self._recorder.start(self._composer)
        try:
            if self._turns.opening is not None:
                await self._turns.opening.wait(window)
        except Exception as exc:
            process.discard(self)
            outcome = failure(exc, self._turns, self._recorder)
            self._close_tools()
            error = self._recorder.refused(self._composer, outcome)
            await self._release()
            raise error from exc
        except BaseException:
            await self._leave()
            raise

    async def events(self) -> AsyncGenerator[list[Event], None]:
        """The events, in batches. Close the generator when nobody wants them any more."""
        try:
            async with aclosing(self._respond()) as batches:
                async for batch in batches:
                    yield batch
        finally:
            await self._leave()

    def _respond(self) -> AsyncGenerator[list[Event], None]:
        return respond(
            self._turns,
            composer=self._composer,
            recorder=self._recorder,
            tools=self._tools,
            decided=self._decided,
        )

    async def _leave(self) -> None:
        """Whether it has ended or nobody wants it any more."""
        process.discard(self)
        self._close_tools()
        if not self._composer.ended:
            self._recorder.run.turns = self._turns.count
            if self._recorder.abandon(self._composer):
                await self._release()
            await self._turns.close()

    async def _release(self) -> None:
        """The request may be carried out again under its key, unless calls have begun to run."""
        if self._claim is not None and not self._composer.has_acted:
            await self._claim.release()

    def _close_tools(self) -> None:
        """Servers take their time to part: nobody waits for that."""
        if self._tools.is_open:
            process.afterwards(self._tools.close())

    async def collect(self) -> bytes:
        """The finished response as JSON. Raises ApiError when it failed; clients are not to repeat
        a request by themselves whose calls have begun to run."""
        await self.start(window=None)
        try:
            async with aclosing(self._respond()) as batches:
                async for _ in batches:
                    pass
        finally:
            await self._leave()
        if (error := self._recorder.error) is not None:
            error.repeatable = not self._composer.has_acted
            await self._release()
            raise error
        return self._composer.to_json()

    def interrupt(self, error: ApiError) -> None:
        """End the run with a terminal event that tells this error."""
        self._turns.interrupt(error)
