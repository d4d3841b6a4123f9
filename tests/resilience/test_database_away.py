"""The database goes away and comes back: nobody is told anything untrue, and all goes on."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.gateway import Database, Gateway
from tests.programs import eventually
from tests.resilience.conftest import GatewayMaker
from tests.resilience.rows import has_lease, row_of, row_of_request, status_of
from tests.resilience.streams import Request, Stream, create, question, retrieve
from tests.scripted_vllm import ScriptedVLLM, pause, text
from tests.tcp_proxy import TcpProxy


class Network:
    """Cuts a gateway off from its PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self.proxy = TcpProxy(database.url)

    @property
    def url(self) -> str:
        return self.proxy.url

    @contextmanager
    def outage(self) -> Iterator[None]:
        self.proxy.cut()
        try:
            yield
        finally:
            self.proxy.mend()

    away = outage


class Lock:
    """Keeps a gateway from writing to its SQLite file, or takes the file away."""

    def __init__(self, database: Database) -> None:
        self.path = Path(database.url.removeprefix("sqlite:///"))
        self.url = f"{database.url}?timeout=1"

    @contextmanager
    def outage(self) -> Iterator[None]:
        """No writes."""
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            connection.execute("BEGIN EXCLUSIVE")
            yield
        finally:
            connection.close()

    @contextmanager
    def away(self) -> Iterator[None]:
        """No reads either, for whoever has not opened the file yet."""
        moved = [(file, file.with_name(f"moved.{file.name}")) for file in self._files()]
        for file, elsewhere in moved:
            file.rename(elsewhere)
        try:
            yield
        finally:
            for file in self._files():
                file.unlink()
            for file, elsewhere in moved:
                elsewhere.rename(file)

    def _files(self) -> list[Path]:
        return list(self.path.parent.glob(f"{self.path.name}*"))


Disaster = Network | Lock


@pytest.fixture(scope="module")
def disaster(shared_database: Database) -> Iterator[Disaster]:
    if shared_database.is_sqlite:
        yield Lock(shared_database)
        return
    network = Network(shared_database)
    with network.proxy:
        yield network


@pytest.fixture(scope="module")
def restless(gateways: GatewayMaker, shared_database: Database, disaster: Disaster) -> Gateway:
    """A process with a short lease."""
    environment = {"DATABASE_URL": disaster.url}
    return gateways(shared_database, environment=environment, LEASE_SECONDS=2, VISIBLE_AFTER=0)


@pytest.fixture(scope="module")
def steady(gateways: GatewayMaker, shared_database: Database, disaster: Disaster) -> Gateway:
    """A process with a lease longer than any outage here."""
    environment = {"DATABASE_URL": disaster.url}
    return gateways(shared_database, environment=environment, LEASE_SECONDS=20)


def begin(gateway: Gateway, vllm: ScriptedVLLM, event: threading.Event) -> tuple[Stream, str]:
    """A stream that waits in its middle."""
    vllm.script(text("A") + pause(event) + text("B"))
    stream = Stream(gateway)
    response_id = stream.begun()
    stream.until("response.output_text.delta")
    return stream, response_id


def visible(gateway: Gateway, vllm: ScriptedVLLM, event: threading.Event) -> tuple[Stream, str]:
    """The same, once others see it."""
    stream, response_id = begin(gateway, vllm, event)
    eventually(lambda: status_of(gateway.database, response_id))
    return stream, response_id


def test_an_outage_longer_than_the_lease_revives_nothing(
    restless: Gateway, disaster: Disaster, vllm: ScriptedVLLM
) -> None:
    database = restless.database
    stream, response_id = visible(restless, vllm, go_on := threading.Event())
    before = row_of(database, response_id)
    assert before is not None
    with disaster.outage():
        eventually(lambda: not has_lease(database, before.owner))
    go_on.set()
    response = stream.end()
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    eventually(lambda: status_of(database, response_id) == "failed")
    assert retrieve(restless, response_id)["status"] == "failed"

    later, later_id = visible(restless, vllm, go_on)
    assert later.end()["status"] == "completed"
    after = row_of(database, later_id)
    assert after is not None
    assert (after.status, after.owner == before.owner) == ("completed", False)


def test_a_first_write_that_failed_is_made_up_for(
    steady: Gateway, disaster: Disaster, vllm: ScriptedVLLM
) -> None:
    stream, response_id = begin(steady, vllm, go_on := threading.Event())
    with disaster.outage():
        eventually(lambda: logged(steady, "run not visible yet", response_id))
    go_on.set()
    response = stream.end()
    assert response["status"] == "completed"
    assert retrieve(steady, response_id) == response
    items = steady.http.get(f"/v1/responses/{response_id}/input_items").json()["data"]
    assert [item["content"][0]["text"] for item in items] == ["Hi"]
    create(steady, previous_response_id=response_id)


def test_an_end_that_cannot_be_stored_is_a_failure(
    steady: Gateway, disaster: Disaster, vllm: ScriptedVLLM
) -> None:
    stream, response_id = visible(steady, vllm, go_on := threading.Event())
    vllm.script(text("A") + pause(go_on))
    number = len(vllm.requests)
    request = Request(steady)
    request_id = vllm.wait_for_requests(number + 1)[-1].headers["x-request-id"]
    with disaster.outage():
        go_on.set()
        response = stream.end()
        assert request.answer.status == 503
        assert request.json()["error"]["code"] == "server_error"
    assert (response["status"], response["error"]["code"]) == ("failed", "server_error")
    # The process lives on and renews its lease: it has to mark the row itself.
    eventually(lambda: status_of(steady.database, response_id) == "failed")
    row = row_of(steady.database, response_id)
    assert row is not None
    assert row.failure == ("failed", "store", "server_error", None)
    assert has_lease(steady.database, row.owner)
    other = row_of_request(steady.database, request_id)
    assert other is None or other.status == "failed"
    create(steady, previous_response_id=response_id)


def test_a_database_that_is_away_at_the_start_is_503(
    start_gateway: GatewayMaker,
    shared_database: Database,
    disaster: Disaster,
    vllm: ScriptedVLLM,
) -> None:
    gateway = start_gateway(shared_database, environment={"DATABASE_URL": disaster.url})
    asked = len(vllm.requests)
    with disaster.away():
        requests = [Request(gateway, stream=stream) for stream in (True, False)]
        for request in requests:
            assert request.answer.status == 503
            assert request.answer.headers["Retry-After"] == "5"
            assert request.json()["error"]["code"] == "service_unavailable"
        assert gateway.http.get("/health").status_code == 200
    assert len(vllm.requests) == asked
    assert Stream(gateway).end()["status"] == "completed"
    assert gateway.http.post("/v1/responses", json=question()).status_code == 200


@pytest.mark.parametrize("databases", ["postgres"], indirect=True)
def test_what_was_cut_while_nobody_asked_fails_no_request(
    steady: Gateway, disaster: Disaster
) -> None:
    def ask() -> None:
        requests = [Request(steady) for _ in range(16)]
        assert {request.json().get("status") for request in requests} == {"completed"}

    ask()
    with disaster.outage():  # all connections are dead now
        pass
    ask()


def logged(gateway: Gateway, message: str, response_id: str) -> bool:
    return any(message in line and response_id in line for line in list(gateway.program.lines))
