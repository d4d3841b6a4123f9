"""Databases and gateways of the resilience tests: migrated once, then copied."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from tests.gateway import Database, Gateway, postgres_database, sqlite_database
from tests.programs import ROOT
from tests.scripted_vllm import ScriptedVLLM
from tests.tcp_proxy import TcpProxy

GatewayMaker = Callable[..., Gateway]


class Databases:
    """Migrated databases of one kind. Copying one takes a moment, migrating one seconds."""

    def __init__(self, original: Database, folder: Path) -> None:
        self.original, self.folder = original, folder
        self.is_sqlite = original.is_sqlite
        self._numbers = itertools.count(1)
        environment = {**os.environ, "DATABASE_URL": original.url, "GATEWAY_SECRET_KEY": "a key"}
        command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)

    def new(self) -> Database:
        number = next(self._numbers)
        if self.is_sqlite:
            folder = self.folder / str(number)
            folder.mkdir()
            made = sqlite_database(folder)
            shutil.copy(self.original.url.removeprefix("sqlite:///"), folder)
            return made
        parts = urlsplit(self.original.url)
        original = parts.path.removeprefix("/")
        made = Database(urlunsplit(parts._replace(path=f"/{original}_{number}")))
        self._postgres(f'CREATE DATABASE "{original}_{number}" TEMPLATE "{original}"')
        return made

    def drop(self, database: Database) -> None:
        if not self.is_sqlite:
            name = urlsplit(database.url).path.removeprefix("/")
            self._postgres(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _postgres(self, statement: str) -> None:
        server = urlunsplit(urlsplit(self.original.url)._replace(path="/postgres"))
        with psycopg.connect(server, autocommit=True) as admin:
            admin.execute(statement)


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def databases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Databases]:
    """Databases of each kind."""
    folder = tmp_path_factory.mktemp("databases")
    if request.param == "sqlite":
        yield Databases(sqlite_database(folder), folder)
        return
    with postgres_database(request.getfixturevalue("postgres_url")) as original:
        yield Databases(original, folder)


@pytest.fixture(scope="module")
def shared_database(databases: Databases) -> Iterator[Database]:
    """One database for the tests of a module."""
    made = databases.new()
    yield made
    databases.drop(made)


@pytest.fixture(scope="module")
def gateways(
    vllm: ScriptedVLLM, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayMaker]:
    """Starts gateways for the tests of a module."""
    with ExitStack() as stack:
        yield _maker(stack, vllm, tmp_path_factory)


@pytest.fixture(scope="module")
def network(vllm: ScriptedVLLM) -> Iterator[TcpProxy]:
    """The way to the upstream, which tests can cut."""
    with TcpProxy(vllm.url) as proxy:
        yield proxy


@pytest.fixture
def start_gateway(
    vllm: ScriptedVLLM, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayMaker]:
    """Starts gateways for one test alone."""
    with ExitStack() as stack:
        yield _maker(stack, vllm, tmp_path_factory)


def _maker(stack: ExitStack, vllm: ScriptedVLLM, folders: pytest.TempPathFactory) -> GatewayMaker:
    def start(
        database: Database,
        *,
        upstream: str = vllm.url,
        environment: dict[str, str] | None = None,
        **settings: Any,
    ) -> Gateway:
        """A gateway on a migrated database; ``settings`` as Gateway takes them."""
        folder = folders.mktemp("gateway")
        running = Gateway(
            database,
            folder,
            upstream=upstream,
            settings=settings,
            environment=environment,
            migrate=False,
        )
        return stack.enter_context(closing(running))

    return start


@pytest.fixture(autouse=True)
def no_replies_left(vllm: ScriptedVLLM) -> Iterator[None]:
    """A test that fails leaves nothing for the next one."""
    yield
    vllm.forget()


@pytest.fixture
def forever() -> Iterator[threading.Event]:
    """Not set as long as the test runs: what waits for it stays where it is."""
    event = threading.Event()
    yield event
    event.set()
