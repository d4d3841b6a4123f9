"""/health and /ready."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.acceptance.exchanges import leaks_nothing, refused
from tests.gateway import Database, Gateway, postgres_database
from tests.scripted_vllm import ScriptedVLLM, failure


@pytest.fixture
def doomed(postgres_url: str, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway whose upstream is away and whose database the test may drop."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        nobody = f"http://127.0.0.1:{listening.getsockname()[1]}"
    with postgres_database(postgres_url) as database:
        running = Gateway(database, tmp_path, upstream=nobody, settings={"SANDBOX": "off"})
        yield running
        running.close()


def drop(database: Database, server_url: str) -> None:
    name = urlsplit(database.url).path.removeprefix("/")
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def test_health_is_that_the_process_answers(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    answer = gateway.http.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert vllm.requests == []


def test_ready_names_what_was_looked_at(stateful_gateway: Gateway) -> None:
    answer = stateful_gateway.http.get("/ready")
    assert answer.status_code == 200
    body = answer.json()
    assert (body["status"], body["down"]) == ("ok", [])
    assert {"database", "upstream"} <= body["checks"].keys()
    assert set(body["checks"].values()) == {"ok"}


def test_ready_names_an_upstream_that_fails(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.routes["/v1/models"] = failure(503, "Loading.")
    answer = gateway.http.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["down"] == ["upstream"]
    assert gateway.http.get("/health").status_code == 200
    vllm.routes.clear()
    assert gateway.http.get("/ready").status_code == 200


def test_what_is_away_is_named_everywhere(doomed: Gateway, postgres_url: str) -> None:
    answer = doomed.http.get("/ready")
    assert answer.status_code == 503
    assert answer.json() == {
        "status": "unavailable",
        "down": ["upstream"],
        "checks": {"database": "ok", "upstream": "The model server cannot be reached."},
    }
    for streamed in (False, True):
        asked = {"model": "tiny", "input": "Hi", "stream": streamed}
        answer = doomed.http.post("/v1/responses", json=asked)
        refused(answer, 503, code="upstream_unavailable", kind="server_error")
        assert answer.headers["retry-after"] == "5"

    drop(doomed.database, postgres_url)
    answer = doomed.http.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["down"] == ["database", "upstream"]
    leaks_nothing(answer.text)
    assert doomed.http.get("/health").status_code == 200
    answer = doomed.http.get("/v1/responses")
    refused(answer, 503, code="service_unavailable", kind="server_error")
    assert answer.headers["retry-after"] == "5"
