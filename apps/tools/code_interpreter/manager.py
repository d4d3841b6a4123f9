"""The calls of one node: each gets the interpreter of its container, with the container's files.

An interpreter that left is started anew, with its variables where they were written down; the
container's files are kept elsewhere and are brought back.

Everything blocks and is called from threads. Which files there are, and what becomes of them, is
``transfer``'s matter.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import structlog

from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.calls import (
    Call,
    Failed,
    NodeEvent,
    Note,
    Transfer,
    TransferFailed,
)
from apps.tools.code_interpreter.places import (
    CANCELLED,
    Capacity,
    Place,
    Places,
    Refused,
    Ticket,
)
from apps.tools.code_interpreter.snapshots import Snapshots

log = structlog.stdlib.get_logger(__name__)

RESTARTED = "The interpreter was restarted: variables are lost, files in /mnt/data are kept."


class SessionManager:
    """One per process. ``run`` from any thread; ``close`` at the end."""

    def __init__(self, sandbox: sb.Sandbox, capacity: Capacity, *, snapshots: Path) -> None:
        self.sandbox, self.capacity = sandbox, capacity
        self._snapshots = Snapshots(snapshots)
        self._places = Places(capacity, self._snapshots)
        self._health: sb.Health | None = None

    # --- Calls ------------------------------------------------------------------------------------

    def run(self, call: Call, transfer: Transfer) -> Generator[NodeEvent, None, None]:
        """Run the code when it is its turn. The last event is a Done or a Failed. Closing the
        iterator, like ``interrupt``, stops the code."""
        ticket = Ticket(call, time.monotonic())
        try:
            with self._places.turn(ticket) as place:
                end = yield from self._carry_out(ticket, place, transfer)
        except Refused as refused:
            end = refused.failure
        yield end  # whoever hears it may call again at once

    def interrupt(self, call_id: str) -> None:
        """Stop this call, wherever it is."""
        for ticket in self._places.cancel(call_id):
            if ticket.session is not None:
                ticket.session.interrupt()

    def discard(self, container_id: str) -> None:
        """Kill the container's interpreter and forget its variables."""
        self._places.discard(container_id)

    def sweep(self) -> None:
        """Let go of what nobody has used for long, or what is too much. To be called often."""
        self._places.sweep()

    def close(self) -> None:
        """Stop what runs, and end all interpreters."""
        for call_id in self._places.close():
            self.interrupt(call_id)
        self.sandbox.close()
        self._snapshots.close()

    # --- One call ---------------------------------------------------------------------------------

    def _carry_out(
        self, ticket: Ticket, place: Place, transfer: Transfer
    ) -> Generator[NodeEvent, None, NodeEvent]:
        """Yield what happens but for the end, which is returned. Raises Refused."""
        cell = yield from self._begin(ticket, place, transfer)
        with closing(cell):  # type: ignore[type-var] # iterators of sessions can be closed
            return (yield from self._watch(ticket, place, cell, transfer))

    def _begin(
        self, ticket: Ticket, place: Place, transfer: Transfer
    ) -> Generator[NodeEvent, None, Iterator[sb.Event]]:
        """Give the code to the interpreter; what it does is returned. Raises Refused."""
        call = ticket.call
        if call.epoch > place.epoch:
            self._outdate(call, place)
        for _ in range(2):
            try:
                session = yield from self._prepare(ticket, place, transfer)
                ticket.session = session
                if ticket.cancelled.is_set():
                    raise Refused(CANCELLED)
                cell = session.execute(call.code, call.id)
                started = next(cell)
            except sb.SessionDead:  # it died while it was idle: nothing of this call has run
                self._end(place)
            except sb.SandboxUnavailable as exc:
                if ticket.cancelled.is_set():
                    raise Refused(CANCELLED) from exc
                raise Refused(Failed("unavailable", str(exc))) from exc
            else:
                if ticket.cancelled.is_set():  # a moment too early to have had an effect
                    session.interrupt()
                yield started
                return cell
        raise Refused(Failed("unavailable", "The interpreter dies as soon as it has started."))

    def _outdate(self, call: Call, place: Place) -> None:
        """Another node held the container since: what is here is of the past."""
        if place.session is not None:
            self._end(place)
        self._snapshots.drop(call.container_id)
        place.epoch = call.epoch

    def _end(self, place: Place) -> None:
        """Close the interpreter; the place stays taken for the next one."""
        if place.session is not None:
            place.session.close()
        place.session = None
        place.files.clear()

    def _prepare(
        self, ticket: Ticket, place: Place, transfer: Transfer
    ) -> Generator[NodeEvent, None, sb.Session]:
        """See that there is an interpreter with the container's files. Raises what it raises."""
        call = ticket.call
        if place.session is not None and place.session.state == "dead":
            self._end(place)
        session = place.session
        if session is None:
            session, restored = self._start(ticket)
            place.session = session
            if call.stateful and not restored and not place.loss_told:
                yield Note(RESTARTED)
        wanted = {file.path: file for file in call.files}
        for path in place.files.keys() - wanted.keys():
            session.delete(path)
            del place.files[path]
        for path, file in wanted.items():
            if place.files.get(path) == file.version:
                continue
            try:
                session.put(path, transfer.fetch(file))
                place.files[path] = file.version
            except (sb.FilesRefused, TransferFailed) as exc:
                yield Note(f"{path} is missing: {exc}")
        return session

    def _start(self, ticket: Ticket) -> tuple[sb.Session, bool]:
        """An interpreter for the container, and whether it has its variables again."""
        call, cancelled = ticket.call, ticket.cancelled
        snapshot = self._snapshots.take(call.container_id) if call.stateful else None
        if snapshot is not None:
            try:
                made = self.sandbox.start(
                    call.container_id, call.limits, restore=snapshot, cancelled=cancelled
                )
            except sb.SnapshotRefused as exc:
                log.warning("snapshot refused", container=call.container_id, reason=str(exc))
            except sb.SandboxUnavailable:  # the next call may find that it can be restored
                self._snapshots.keep(call.container_id, snapshot)
                raise
            else:
                return made, True
        made = self.sandbox.start(call.container_id, call.limits, cancelled=cancelled)
        return made, False

    def _watch(
        self, ticket: Ticket, place: Place, cell: Iterator[sb.Event], transfer: Transfer
    ) -> Generator[NodeEvent, None, NodeEvent]:
        """Pass the events on; files are saved before the end is told."""
        changed: list[sb.FileChanged] = []
        end: sb.Done | None = None
        for event in cell:
            match event:
                case sb.FileChanged():
                    changed.append(event)
                case sb.FileDeleted():
                    place.files.pop(event.path, None)
                    yield event
                case sb.Done():
                    end = event
                case _:
                    yield event
        assert ticket.session is not None
        assert end is not None
        for change in changed:
            yield self._save(ticket.session, place, change, transfer)
        place.loss_told = end.state_lost
        return end

    def _save(
        self, session: sb.Session, place: Place, change: sb.FileChanged, transfer: Transfer
    ) -> NodeEvent:
        try:
            saved = transfer.save(change.path, change.size, session.get(change.path))
        except (TransferFailed, sb.FilesRefused, FileNotFoundError, sb.SessionDead) as exc:
            told = isinstance(exc, (TransferFailed, sb.FilesRefused))
            reason = str(exc) if told else "it is gone"
            return Note(f"{change.path} could not be kept: {reason}")
        place.files[change.path] = saved.version
        return saved

    # --- For operators ----------------------------------------------------------------------------

    def health(self) -> sb.Health:
        """What the backend says of itself. Asked again until it is usable."""
        if self._health is None or not self._health.usable:
            self._health = self.sandbox.probe()
        return self._health

    def status(self) -> dict[str, Any]:
        """What there is to tell, as JSON: of the backend, and of the places."""
        health = self.health()
        return {
            "backend": health.backend,
            "usable": health.usable,
            "versions": health.versions,
            "layers": list(health.layers),
            "missing": list(health.missing),
            "packages": list(health.packages),
            **self._places.status(),
        }
