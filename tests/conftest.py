"""Fixtures that everyone shares."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import hypothesis
import openai
import psycopg
import pytest
import redis
from cryptography.fernet import Fernet

from tests.gateway import Database, Gateway, postgres_database, sqlite_database
from tests.scripted_vllm import ScriptedVLLM
from tests.toy import Toy, ToyMaker

POSTGRES_URL = os.environ.get(
    "GATEWAY_TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres"
)
REDIS_URL = os.environ.get("GATEWAY_TEST_REDIS_URL", "redis://127.0.0.1:6379/9")
PLACE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
"""Of this process among those that test side by side."""
THIRD_PARTY_DATA = Path(os.environ.get("GATEWAY_TEST_DATA", Path(__file__).parents[2] / "shared"))

# How long one example takes says more about the machine than about the code.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")


@pytest.fixture(scope="session")
def third_party_data() -> Path:
    """Recordings of other projects, which are not part of this one."""
    if not (THIRD_PARTY_DATA / "recordings").is_dir():
        pytest.skip("set GATEWAY_TEST_DATA to the folder that holds recordings/ and spec/")
    return THIRD_PARTY_DATA


@pytest.fixture(scope="session")
def postgres_url() -> str:
    """The URL of a PostgreSQL server on which databases may be made."""
    try:
        psycopg.connect(POSTGRES_URL, connect_timeout=3).close()
    except psycopg.OperationalError as exc:
        pytest.skip(
            f"no PostgreSQL ({exc}): start one, e.g. `pg_ctlcluster 15 main start`, and set "
            "GATEWAY_TEST_POSTGRES_URL"
        )
    return POSTGRES_URL


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The URL of a Redis database in which tests may write: one for each process that tests."""
    named = urlsplit(REDIS_URL)
    number = int(named.path.strip("/") or 0) + PLACE
    url = urlunsplit(named._replace(path=f"/{number}"))
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=3) as client:
            client.ping()
    except redis.ConnectionError as exc:
        pytest.skip(f"no Redis ({exc}): start one and set GATEWAY_TEST_REDIS_URL")
    return url


@pytest.fixture(scope="session")
def vllm() -> Iterator[ScriptedVLLM]:
    """The scripted upstream behind ``gateway``; tests that use it run one after another."""
    with ScriptedVLLM() as server:
        yield server


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        yield sqlite_database(tmp_path_factory.mktemp("sqlite"))
        return
    with postgres_database(request.getfixturevalue("postgres_url")) as made:
        yield made


@pytest.fixture(scope="session")
def stateful_gateway(
    database: Database, vllm: ScriptedVLLM, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway on each kind of database, for what the database decides."""
    running = Gateway(database, tmp_path_factory.mktemp("gateway"), upstream=vllm.url)
    yield running
    running.close()


@pytest.fixture(scope="session")
def gateway(vllm: ScriptedVLLM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway on SQLite, for everything else. It can seal reasoning."""
    folder = tmp_path_factory.mktemp("gateway")
    settings = {"ENCRYPTION_KEYS": Fernet.generate_key().decode()}
    running = Gateway(sqlite_database(folder), folder, upstream=vllm.url, settings=settings)
    yield running
    running.close()


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    """The official client in front of ``gateway``."""
    with gateway.client() as made:
        yield made


@pytest.fixture
def start_toy() -> Iterator[ToyMaker]:
    """Starts toy servers, with flags of theirs."""
    toys: list[Toy] = []

    def start(*flags: str) -> Toy:
        toys.append(Toy(*flags))
        return toys[-1]

    yield start
    for toy in toys:
        toy.close()
