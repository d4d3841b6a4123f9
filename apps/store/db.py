"""Runs one unit of database work off the event loop and gives its connection back.

The store's functions are plain synchronous functions, each one transaction; asynchronous callers
pass them to ``in_thread``. Nothing else in asynchronous code may touch the ORM: Django's own
``a`` methods keep a connection open for as long as the request lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import lru_cache
from typing import ParamSpec, TypeVar

import django.db
from django.db import connection

from apps.store.conf import conf
from apps.store.errors import StoreUnavailable

P = ParamSpec("P")
R = TypeVar("R")


@lru_cache(maxsize=1)
def executors() -> tuple[Executor, Executor]:
    """This process's threads for reading and for writing.

    SQLite admits one writer at a time: one thread queues writes without lock contention, and two
    others read meanwhile. PostgreSQL takes both from as many threads as there are connections.
    """
    if connection.vendor == "sqlite":
        return (
            ThreadPoolExecutor(2, thread_name_prefix="db-read"),
            ThreadPoolExecutor(1, thread_name_prefix="db-write"),
        )
    both = ThreadPoolExecutor(conf.DB_THREADS, thread_name_prefix="db")
    return both, both


async def in_thread(unit: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a unit that reads. Cancelling the caller does not interrupt the unit."""
    return await _run(executors()[0], unit, *args, **kwargs)


async def in_writer(unit: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a unit that writes. Cancelling the caller does not interrupt the unit."""
    return await _run(executors()[1], unit, *args, **kwargs)


async def _run(executor: Executor, unit: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(executor, lambda: _returning(unit, *args, **kwargs))


def _returning(unit: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    try:
        return unit(*args, **kwargs)
    except django.db.Error as exc:
        raise StoreUnavailable(str(exc).strip() or type(exc).__name__) from exc
    finally:
        # With the pool, closing gives the connection back. A SQLite thread keeps its own, unless
        # it broke: opening the file again costs more than most queries.
        if connection.vendor != "sqlite" or connection.errors_occurred:
            connection.close()
