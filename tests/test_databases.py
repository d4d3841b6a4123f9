"""The pool of connections to PostgreSQL, as the settings make it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from time import sleep
from typing import Any

import pytest
from django.db.utils import ConnectionHandler
from psycopg_pool import ConnectionPool
from pytest_django.plugin import DjangoDbBlocker

from apps.store import db
from responses_gateway import databases
from tests.tcp_proxy import TcpProxy


@pytest.fixture
def network(postgres_url: str) -> Iterator[TcpProxy]:
    with TcpProxy(postgres_url) as proxy:
        yield proxy


@pytest.fixture
def pool(network: TcpProxy) -> Iterator[ConnectionPool[Any]]:
    options = databases.from_url(network.url, threads=2)["OPTIONS"]["pool"]
    with ConnectionPool(network.url, check=ConnectionPool.check_connection, **options) as made:
        made.wait()
        yield made


def test_all_who_wait_are_served_when_the_database_comes_back(
    network: TcpProxy, pool: ConnectionPool[Any]
) -> None:
    """Whoever came first has waited for longer than an attempt to connect lasts."""

    def ask() -> None:
        with pool.connection() as connection:
            connection.execute("SELECT 1")

    network.cut()
    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(ask) for _ in range(3)]
        sleep(2)
        network.mend()
        for request in asked:
            request.result()


def test_many_connections_that_died_at_rest_cost_nobody_the_answer(
    network: TcpProxy, monkeypatch: pytest.MonkeyPatch, django_db_blocker: DjangoDbBlocker
) -> None:
    settings = databases.from_url(network.url, threads=2)
    handler = ConnectionHandler({"default": settings})
    monkeypatch.setattr(db, "connections", handler)

    def ask() -> None:
        with handler["default"].cursor() as cursor:
            cursor.execute("SELECT 1")
        handler["default"].close()

    with django_db_blocker.unblock():
        asyncio.run(db.in_thread(ask))
        pool: ConnectionPool[Any] = handler["default"].pool  # type: ignore[attr-defined]
        with pool:
            with ExitStack() as used:
                for _ in range(8):
                    used.enter_context(pool.connection())
            network.cut()
            network.mend()
            asyncio.run(db.in_thread(ask))
