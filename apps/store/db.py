"""Runs one unit of database work off the event loop, on the connection of one of few threads.

The store's functions are plain synchronous functions, each one transaction; asynchronous callers
pass them to ``in_thread``. Nothing else in asynchronous code may touch the ORM: Django's own
``a`` methods keep a connection open for as long as the request lasts.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Awaitable, Callable
from functools import cache, lru_cache
from typing import Any, ParamSpec, TypeVar

import django.db
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from apps import metrics
from apps.store.conf import conf
from apps.store.errors import StoreUnavailable
from apps.store.threads import Threads, Work

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


IDLE = 30.0
"""Seconds after which a thread no longer trusts its connection to PostgreSQL: firewalls forget
connections that rest, and tell nobody. The pool looks at what it gets back before it gives it out."""

_used = threading.local()
"""``at``: when this thread's connection was used last."""


@lru_cache(maxsize=1)
def threads() -> tuple[Threads, Threads]:
    """This process's threads for reading and for writing.

    SQLite admits one writer at a time: one thread queues writes without lock contention, and two
    others read meanwhile. PostgreSQL takes both from as many threads as there are connections.
    """
    if connections[DEFAULT_DB_ALIAS].vendor == "sqlite":
        return Threads(2, name="db-read"), Threads(1, name="db-write")
    both = Threads(conf.DB_THREADS, name="db")
    return both, both


async def in_thread(unit: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a unit that reads. Cancelling the caller does not interrupt the unit."""
    return await _run(threads()[0], unit, *args, **kwargs)


async def in_writer(unit: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a unit that writes. Cancelling the caller does not interrupt the unit."""
    return await _run(threads()[1], unit, *args, **kwargs)


async def in_thread_together(unit: Work[T, R], item: T) -> R:
    """Have a unit read something, with what other requests want of it at the same moment: it takes
    a list, and gives a list of results or errors."""
    return await _observed(unit, threads()[0].together(_unit(unit), item))


async def in_writer_together(unit: Work[T, R], item: T) -> R:
    """Have a unit write something, with what other requests have for it at the same moment."""
    return await _observed(unit, threads()[1].together(_unit(unit), item))


async def _run(where: Threads, unit: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    return await _observed(unit, where.run(lambda: _returning(unit, *args, **kwargs)))


async def _observed(unit: Callable[..., Any], work: Awaitable[R]) -> R:
    began, name = time.perf_counter(), getattr(unit, "__name__", "other")
    try:
        return await work
    except StoreUnavailable:
        metrics.store_failures.add(name)
        raise
    finally:
        metrics.store_seconds.observe(time.perf_counter() - began, name)


@cache
def _unit(unit: Work[T, R]) -> Work[T, R]:
    """The same for the same unit: by it the threads know what may be done together."""
    return lambda items: _returning(unit, items)


def _returning(unit: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    db = connections[DEFAULT_DB_ALIAS]
    try:
        if _may_be_dead(db):
            db.close()
        if db.connection is None:
            _drop_dead(db)
        return unit(*args, **kwargs)
    except django.db.Error as exc:
        raise StoreUnavailable(str(exc).strip() or type(exc).__name__) from exc
    finally:
        # A thread keeps its connection unless it broke. Opening a SQLite file costs more than most
        # queries, and PostgreSQL's pool asks the server about each connection that it gives out.
        if db.errors_occurred:
            db.close()
        _used.at = time.monotonic()


def _may_be_dead(db: BaseDatabaseWrapper) -> bool:
    """Whether PostgreSQL ended this thread's connection meanwhile, which is all that it sends unasked,
    or may have, since nobody used it for long."""
    kept = db.connection
    if db.vendor == "sqlite" or kept is None:
        return False
    if kept.closed or time.monotonic() - getattr(_used, "at", 0.0) > IDLE:
        return True
    waiting = select.poll()
    waiting.register(kept.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


def _drop_dead(db: BaseDatabaseWrapper) -> None:
    """Have the pool of PostgreSQL, if there is one, look at all that rests in it: those that a
    restart of the server has ended it would give out one by one, with ever longer waits between."""
    pool = getattr(db, "pool", None)
    if pool is not None and not pool.closed:
        pool.check()
