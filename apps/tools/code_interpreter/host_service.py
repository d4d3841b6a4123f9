"""The code interpreter in the tool host: the node of machines without a broker.

A conversation is one call. The host says ``{"event": …}``; for files it asks: ``{"fetch": id}``,
``{"save": path, "size": n}``. Contents go as pieces, then ``{"last": true}`` or ``{"problem": …}``.
The caller's end is in ``embedded.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from threading import Event
from typing import Any

import structlog

from apps.tools.code_interpreter.calls import (
    Call,
    FileRef,
    FileSaved,
    TransferFailed,
    from_message,
    to_message,
)
from apps.tools.code_interpreter.manager import SessionManager
from apps.tools.code_interpreter.sandbox import FilesRefused, SessionDead
from apps.tools.code_interpreter.setup import hosts_sandboxes, make_manager, runs_on_workers
from apps.tools.frames import BrokenFrame, Frame
from apps.tools.host import Conversation, ServiceError

log = structlog.stdlib.get_logger(__name__)

SWEEP_EVERY = 5.0
GONE = "the caller is gone"


class CodeInterpreterService:
    """Runs calls in threads: a sandbox blocks."""

    name = "code_interpreter"

    def __init__(self, make: Callable[[], SessionManager] = make_manager) -> None:
        self._make = make
        self._manager: SessionManager | None = None
        self._threads = ThreadPoolExecutor(1)
        self._sweeping: asyncio.Task[None] | None = None

    @classmethod
    def wanted(cls) -> bool:
        return hosts_sandboxes() and not runs_on_workers()

    @property
    def manager(self) -> SessionManager:
        assert self._manager is not None, "not started"
        return self._manager

    async def start(self) -> None:
        self._manager = manager = await asyncio.to_thread(self._make)
        self._threads = ThreadPoolExecutor(manager.capacity.threads, thread_name_prefix="call")
        self._sweeping = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        if self._sweeping is not None:
            self._sweeping.cancel()
        await asyncio.to_thread(self.manager.close)
        self._threads.shutdown(wait=False)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            try:
                await asyncio.to_thread(self.manager.sweep)
            except Exception:
                log.exception("sweeping failed")

    def status(self) -> Mapping[str, Any]:
        return self.manager.status()

    async def handle(self, request: Frame, conversation: Conversation) -> None:
        match request.message.get("do"):
            case "run":
                await self._run(_call(request.message), conversation)
            case "discard":
                container = str(request.message.get("container_id"))
                await asyncio.to_thread(self.manager.discard, container)
            case "status":
                await conversation.send(await asyncio.to_thread(self.manager.status))
            case other:
                raise ServiceError(f"The code interpreter cannot {other!r}.")

    async def _run(self, call: Call, conversation: Conversation) -> None:
        line = _Line(conversation, asyncio.get_running_loop())
        done = asyncio.get_running_loop().run_in_executor(
            self._threads, _talk, self.manager, call, line
        )
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError:
            line.hang_up()
            self.manager.interrupt(call.id)
            raise


def _call(message: Mapping[str, Any]) -> Call:
    try:
        return Call.from_json(message["call"])
    except (KeyError, TypeError) as exc:
        raise ServiceError(f"That is no call: {exc!r}.") from exc


def _talk(manager: SessionManager, call: Call, line: _Line) -> None:
    """Run the call and tell what happens. In a thread, for which it may have waited."""
    if line.gone:
        return
    events = manager.run(call, line)
    try:
        for event in events:
            line.say(*to_message(event))
    except _HungUp:
        log.info("caller gone", call=call.id)
    finally:
        events.close()


class _HungUp(Exception):
    """The caller is not there any more."""


class _Line:
    """The conversation as a thread has it; carries files, too."""

    def __init__(self, conversation: Conversation, loop: asyncio.AbstractEventLoop) -> None:
        self._conversation, self._loop = conversation, loop
        self._pending: Future[Any] | None = None
        self._gone = Event()

    def hang_up(self) -> None:
        """End what the thread waits for, and whatever it tries after that. From the loop."""
        self._gone.set()
        if self._pending is not None:
            self._pending.cancel()

    @property
    def gone(self) -> bool:
        return self._gone.is_set()

    def say(self, message: Mapping[str, Any], blob: bytes = b"") -> None:
        self._await(self._conversation.send(message, blob))

    def hear(self) -> Frame:
        frame: Frame = self._await(self._conversation.receive())
        return frame

    def _await(self, work: Any) -> Any:
        if self._gone.is_set():
            work.close()
            raise _HungUp
        self._pending = pending = asyncio.run_coroutine_threadsafe(work, self._loop)
        if self._gone.is_set():
            pending.cancel()
        try:
            return pending.result()
        except (CancelledError, ConnectionError, BrokenFrame) as exc:
            raise _HungUp from exc

    # -- Transfer ----------------------------------------------------------------------------------

    def fetch(self, file: FileRef) -> Iterable[bytes]:
        ended = False
        try:
            self.say({"fetch": file.id})
            while True:
                frame = self.hear()
                if (problem := frame.message.get("problem")) is not None:
                    ended = True
                    raise TransferFailed(str(problem))
                if frame.message.get("last") is True:
                    ended = True
                    return
                yield frame.blob
        except _HungUp as exc:
            ended = True
            raise TransferFailed(GONE) from exc
        finally:
            while not ended:  # nobody wants the rest, but it comes
                ended = not self._skip()

    def _skip(self) -> bool:
        """Hear one more piece; whether others follow."""
        try:
            return not self.hear().message.keys() & {"last", "problem"}
        except _HungUp:
            return False

    def save(self, path: str, size: int, chunks: Iterator[bytes]) -> FileSaved:
        try:
            self.say({"save": path, "size": size})
            try:
                for chunk in chunks:
                    self.say({"piece": True}, chunk)
            except (FileNotFoundError, FilesRefused, SessionDead):
                self.say({"problem": True})
                raise
            self.say({"last": True})
            answer = self.hear().message
        except _HungUp as exc:
            raise TransferFailed(GONE) from exc
        if "saved" not in answer:
            raise TransferFailed(str(answer.get("problem")))
        return _saved(answer["saved"])


def _saved(message: Mapping[str, Any]) -> FileSaved:
    event = from_message(message, b"")
    assert isinstance(event, FileSaved)
    return event
