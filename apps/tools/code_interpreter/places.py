"""The places of a node's containers: which one has an interpreter, and which call may use it now.

Calls of one container run in the order in which they came. A call whose container has no
interpreter needs room for one: the idle interpreter that was used longest ago makes it. What finds
no room waits, in a queue with limits. An interpreter that nobody used for a while leaves, with a
snapshot of its variables where the backend can make one.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.calls import Call, Failed, NodeEvent
from apps.tools.code_interpreter.snapshots import Snapshots

SNAPSHOT_MB = 512
"""An interpreter that has grown larger is not written down: writing takes what its variables hold once
more there and twice here, and restoring them more than it held before; whoever waits waits for all
of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What one node takes on. Times are in seconds; ``memory_mb`` is for all interpreters."""

    sessions: int = 8
    memory_mb: int = 2048
    idle_s: float = 120
    container_s: float = 1200
    queue: int = 32
    queue_s: float = 30

    @property
    def threads(self) -> int:
        """For all calls that run or wait, and a few to be refused in."""
        return self.sessions + self.queue + 4


@dataclass(slots=True)
class Place:
    """What the node has of one container. ``taken``: its interpreter counts as alive."""

    epoch: int = 0
    session: sb.Session | None = None
    taken: bool = False
    expected_mb: int = 0
    """What its interpreter counts for until it holds more."""
    written_mb: int = 0
    """What the last one held when it was written down: the next will hold it too."""
    busy: bool = False
    files: dict[str, str] = field(default_factory=dict)
    """Paths in the interpreter, with the versions of their contents."""
    used: float = 0
    loss_told: bool = False
    """Whether the model knows that there are no variables."""


@dataclass(slots=True, eq=False)
class Ticket:
    """One call, from its coming to its end."""

    call: Call
    since: float
    cancelled: threading.Event = field(default_factory=threading.Event)
    session: sb.Session | None = None


class Refused(Exception):
    """The call does not run; ``failure`` says why."""

    def __init__(self, failure: NodeEvent) -> None:
        self.failure = failure


CANCELLED = sb.Done(status="cancelled", ms=0)


class Places:
    """Those of one node. Everything is called from threads, and blocks."""

    def __init__(self, capacity: Capacity, snapshots: Snapshots) -> None:
        self.capacity, self._snapshots = capacity, snapshots
        self._places: dict[str, Place] = {}
        self._waiting: list[Ticket] = []
        self._running: list[Ticket] = []
        self._changed = threading.Condition()
        self._closed = False

    # --- Taking turns -----------------------------------------------------------------------------

    @contextmanager
    def turn(self, ticket: Ticket) -> Iterator[Place]:
        """Hold the container's place. Raises Refused."""
        place = self._enter(ticket)
        try:
            yield place
        finally:
            with self._changed:
                self._running.remove(ticket)
                place.busy, place.used = False, time.monotonic()
                if place.session is None or place.session.state == "dead":
                    self._empty(place)
                self._changed.notify_all()

    def _enter(self, ticket: Ticket) -> Place:
        deadline = ticket.since + self.capacity.queue_s
        with self._changed:
            self._waiting.append(ticket)
            try:
                while not self._may_go(ticket):
                    if (victim := self._victim(ticket)) is not None:
                        self._evict(*victim)
                    elif self._is_one_too_many(ticket):
                        raise Refused(
                            Failed("busy", "All code interpreters are in use, and too many wait.")
                        )
                    elif not self._changed.wait(deadline - time.monotonic()):
                        raise Refused(Failed("busy", "All code interpreters are in use."))
                place = self._places[ticket.call.container_id]
                if not place.taken:
                    place.taken, place.expected_mb = True, self._expected_mb(ticket.call, place)
                place.busy = True
                self._running.append(ticket)
                return place
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()

    def _may_go(self, ticket: Ticket) -> bool:
        """Whether it is this call's turn. Raises Refused where it never will be."""
        if self._closed:
            raise Refused(Failed("unavailable", "This sandbox is shutting down."))
        if ticket.cancelled.is_set():
            raise Refused(CANCELLED)
        place = self._places.setdefault(ticket.call.container_id, Place())
        if ticket.call.epoch < place.epoch:
            raise Refused(Failed("stale", "Another node runs this container now."))
        if not self._is_next(ticket):
            return False
        return place.taken or (self._first_for_room(ticket) and self._has_room(ticket))

    def _is_one_too_many(self, ticket: Ticket) -> bool:
        """Whether the queue was full already: with all calls, or half of it with its container's."""
        before = self._waiting[: self._waiting.index(ticket)]
        own = sum(t.call.container_id == ticket.call.container_id for t in before)
        return len(before) >= self.capacity.queue or 2 * own >= self.capacity.queue

    def _is_next(self, ticket: Ticket) -> bool:
        """Whether nothing of its container is before it."""
        container = ticket.call.container_id
        first = next(t for t in self._waiting if t.call.container_id == container)
        place = self._places.get(container)
        return first is ticket and not (place is not None and place.busy)

    def _first_for_room(self, ticket: Ticket) -> bool:
        """Whether it is the first of those that only lack an interpreter."""
        lacking = (
            t
            for t in self._waiting
            if self._is_next(t) and not self._places.get(t.call.container_id, Place()).taken
        )
        return next(lacking, None) is ticket

    def _has_room(self, ticket: Ticket) -> bool:
        taken = [place for place in self._places.values() if place.taken]
        if not taken:
            return True
        if len(taken) >= self.capacity.sessions:
            return False
        used = sum(max(place.expected_mb, _resident_mb(place.session)) for place in taken)
        needed = self._expected_mb(ticket.call, self._places[ticket.call.container_id])
        return used + needed <= self.capacity.memory_mb

    def _expected_mb(self, call: Call, place: Place) -> int:
        """Half of what an interpreter may hold; or what it is going to restore."""
        is_current = call.stateful and call.epoch <= place.epoch  # else it is of the past
        restores = is_current and self._snapshots.holds(call.container_id)
        return max(call.limits.memory_mb // 2, place.written_mb if restores else 0)

    def _victim(self, ticket: Ticket) -> tuple[str, Place] | None:
        """The place that is to make room for the call, if room is all that it lacks."""
        place = self._places[ticket.call.container_id]
        if not self._is_next(ticket) or place.taken or not self._first_for_room(ticket):
            return None
        return self._idlest()

    def _idlest(self) -> tuple[str, Place] | None:
        """The place whose interpreter was used longest ago, if one is idle."""
        idle = [(c, p) for c, p in self._places.items() if p.taken and not p.busy]
        return min(idle, key=lambda entry: entry[1].used, default=None)

    # --- Leaving ----------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Let interpreters and containers go that nobody used for long, and those that were used
        longest ago while all together hold too much. To be called often."""
        with self._changed:
            self._keep_to_budget()
            now = time.monotonic()
            for container, place in list(self._places.items()):
                if place.busy or any(t.call.container_id == container for t in self._waiting):
                    continue
                if place.taken and now - place.used >= self.capacity.idle_s:
                    self._evict(container, place)
                elif not place.taken and now - place.used >= self.capacity.container_s:
                    self._forget(container, place)
                    self._snapshots.drop(container)

    def _keep_to_budget(self) -> None:
        """Interpreters grow after they were let in. One that is alone may, and where those that are
        busy hold too much already, ending the others would not help."""
        while self._resident_mb() > self.capacity.memory_mb:
            taken = [place for place in self._places.values() if place.taken]
            busy = sum(_resident_mb(place.session) for place in taken if place.busy)
            victim = self._idlest()
            if victim is None or len(taken) == 1 or busy > self.capacity.memory_mb:
                return
            self._evict(*victim)

    def _evict(self, container: str, place: Place) -> None:
        """End an idle interpreter. The lock is held, but not while it is written down."""
        session, place.busy = place.session, True
        self._changed.release()
        try:
            if session is not None:
                place.written_mb = _resident_mb(session)
                self._snapshots.keep(container, _snapshot(session))
                session.close()
        finally:
            self._changed.acquire()
            place.busy = False
            self._empty(place)
            self._changed.notify_all()

    def _empty(self, place: Place) -> None:
        place.session, place.taken = None, False
        place.files.clear()

    def _forget(self, container: str, place: Place) -> None:
        self._empty(place)
        del self._places[container]

    def cancel(self, call_id: str) -> list[Ticket]:
        """A call that waits is refused. Returns those of this id that wait or run."""
        with self._changed:
            tickets = [t for t in [*self._waiting, *self._running] if t.call.id == call_id]
            for ticket in tickets:
                ticket.cancelled.set()
            self._changed.notify_all()
        return tickets

    def discard(self, container_id: str) -> None:
        """Kill the container's interpreter and forget its variables."""
        with self._changed:
            place = self._places.get(container_id)
            session = place.session if place is not None else None
            for ticket in [*self._waiting, *self._running]:
                if ticket.call.container_id == container_id:
                    ticket.cancelled.set()
            if place is not None and not place.busy:
                self._forget(container_id, place)
            self._changed.notify_all()
        self._snapshots.drop(container_id)
        if session is not None:
            session.close()  # the call that uses it, if any, ends now

    def close(self) -> list[str]:
        """No more turns. Returns the ids of the calls that run."""
        with self._changed:
            self._closed = True
            running = [ticket.call.id for ticket in self._running]
            self._changed.notify_all()
        return running

    # --- For operators ----------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """``warm`` and ``busy`` count interpreters; ``queue_age`` is how long the first in the queue
        has waited, in seconds."""
        with self._changed:
            taken = [place for place in self._places.values() if place.taken]
            oldest = min((ticket.since for ticket in self._waiting), default=None)
            return {
                "capacity": self.capacity.sessions,
                "warm": sum(not place.busy for place in taken),
                "busy": sum(place.busy for place in taken),
                "queued": len(self._waiting),
                "queue_age": 0.0 if oldest is None else round(time.monotonic() - oldest, 3),
                "memory_mb": self._resident_mb(),
            }

    def _resident_mb(self) -> int:
        return sum(_resident_mb(place.session) for place in self._places.values())


def _snapshot(session: sb.Session) -> bytes | None:
    if _resident_mb(session) > SNAPSHOT_MB:
        return None
    try:
        return session.snapshot()
    except sb.SessionDead:
        return None


def _resident_mb(session: sb.Session | None) -> int:
    """The memory of an interpreter's process; 0 where there is none."""
    pid = session.pid if session is not None else None
    if pid is None:
        return 0
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") >> 20
