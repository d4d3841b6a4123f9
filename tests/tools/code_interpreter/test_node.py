"""One sandbox worker, in this process, before a real Redis: what it says, and when."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from pytest_django import Settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from apps.tools.code_interpreter import ledger
from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.calls import Call, NodeEvent, Placed
from apps.tools.code_interpreter.manager import SessionManager
from apps.tools.code_interpreter.node import Node
from apps.tools.code_interpreter.places import Capacity
from apps.tools.code_interpreter.scaled import Dispatch, WorkerNodes
from tests.programs import eventually
from tests.scripted_sandbox import ScriptedSandbox, ScriptedSession
from tests.tcp_proxy import TcpProxy
from tests.tools.code_interpreter.nodes import Shelf

NAME = "node_1"
DISPATCH = "ci_1.1"
T = TypeVar("T")


@contextmanager
def node(client: redis.Redis, folder: Path, **capacity: Any) -> Iterator[Node]:
    manager = SessionManager(ScriptedSandbox(), Capacity(**capacity), snapshots=folder)
    made = Node(NAME, client, manager)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def listed(client: redis.Redis) -> bool:
    return client.zscore(ledger.NODES, NAME) is not None


def call(code: str, **values: Any) -> Call:
    return Call(id="ci_1", container_id="cntr_1", code=code, **values)


def ask(question: Callable[[WorkerNodes], Awaitable[T]]) -> T:
    """What a gateway makes of the workers that there are."""

    async def whole() -> T:
        gateway = WorkerNodes()
        try:
            return await question(gateway)
        finally:
            await gateway.close()

    return asyncio.run(whole())


def placed(container: str) -> Placed | None:
    made = Call(id="ci", container_id=container, code="")
    return ask(lambda gateway: gateway._place(made))


def test_a_worker_that_cannot_run_code_gets_none_and_is_still_listed(
    client: redis.Redis, tmp_path: Path, settings: Settings, redis_url: str
) -> None:
    settings.GATEWAY_SANDBOX_REDIS_URL = redis_url
    with node(client, tmp_path) as here:
        eventually(lambda: listed(client))
        assert isinstance(here.manager.sandbox, ScriptedSandbox)
        assert placed("cntr_1") == Placed(NAME, 1)
        here.manager.sandbox.refuse = "Run `manage.py sandbox install`."
        here.manager._health = None
        here._beat()
        assert placed("cntr_1") is None, "what it held goes elsewhere"
        assert placed("cntr_2") is None
        (status,) = ask(lambda gateway: gateway.status())
        assert not status["usable"]
        here.manager.sandbox.refuse = None
        here._beat()
        assert placed("cntr_2") == Placed(NAME, 1)


def test_a_worker_that_starts_without_redis_is_a_node_as_soon_as_there_is_one(
    client: redis.Redis,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(ledger, "BEAT_S", 0.1)
    with (
        TcpProxy(redis_url) as way,
        redis.Redis.from_url(way.url, decode_responses=True) as its_own,
    ):
        way.cut()
        with node(its_own, tmp_path):
            eventually(lambda: "Redis is away" in caplog.text)
            assert "sandbox worker ready" not in caplog.text
            way.mend()
            eventually(lambda: listed(client))
            eventually(lambda: "sandbox worker ready" in caplog.text)
            eventually(lambda: client.pubsub_numsub(ledger.control_channel(NAME))[0][1] == 1)
        assert not listed(client)


def test_an_interpreter_that_hangs_while_it_is_written_down_does_not_stop_the_heart(
    client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "BEAT_S", 0.05)
    monkeypatch.setattr(ledger, "LEASE_MS", 500)
    hung, go_on = threading.Event(), threading.Event()

    def hang(session: ScriptedSession) -> None:
        hung.set()
        go_on.wait(10)

    monkeypatch.setattr(ScriptedSession, "snapshot", hang)
    with node(client, tmp_path, idle_s=0) as here:
        list(here.manager.run(call("x = 1"), Shelf()))
        assert hung.wait(10)
        time.sleep(0.7)  # more than a lease
        alive = client.exists(ledger.node_key(NAME))
        go_on.set()
        assert alive
        eventually(lambda: here.manager.status()["warm"] == 0)


# --- Answers of Redis that are lost -------------------------------------------------------------------


@pytest.fixture
def way(redis_url: str) -> Iterator[TcpProxy]:
    """The network between Redis and who is tested."""
    with TcpProxy(redis_url) as made:
        yield made


@pytest.fixture
def at_once(way: TcpProxy) -> Iterator[redis.Redis]:
    """The client of a node behind that network. It tries again, and does not wait for that."""
    retry = Retry(NoBackoff(), 1)
    with redis.Redis.from_url(way.url, decode_responses=True, retry=retry) as made:
        yield made


def deliver(here: Node, made: Call) -> None:
    """What the broker does."""
    here.run({"dispatch": DISPATCH, "call": made.to_json()})


def told(client: redis.Redis) -> list[NodeEvent]:
    entries: Any = client.xrange(ledger.events_key(DISPATCH))
    return [ledger.read_entry(fields) for _, fields in entries]


def cells(here: Node) -> list[tuple[str, str]]:
    assert isinstance(here.manager.sandbox, ScriptedSandbox)
    return here.manager.sandbox.cells


def test_a_claim_is_known_again_by_who_made_it_and_by_no_other_delivery(
    client: redis.Redis, way: TcpProxy, at_once: redis.Redis, tmp_path: Path
) -> None:
    client.set(ledger.wanted_key(DISPATCH), 1)
    with node(at_once, tmp_path) as here:
        way.lose_the_answer_to(ledger.claim_key(DISPATCH).encode())
        deliver(here, call("x = 1"))
        assert way.lost
        assert isinstance(told(client)[-1], sb.Done)
        deliver(here, call("x = 1"))
        assert cells(here) == [("ci_1", "x = 1")]


def test_a_gateway_knows_its_own_word_again_when_it_gives_a_call_up(
    client: redis.Redis, way: TcpProxy, settings: Settings
) -> None:
    settings.GATEWAY_SANDBOX_REDIS_URL = way.url
    dispatch = Dispatch(DISPATCH, NAME, call(""))
    way.lose_the_answer_to(ledger.REVOKED.encode())
    assert ask(lambda gateway: gateway._revoke(dispatch))
    assert way.lost
    client.set(ledger.claim_key(DISPATCH), f"{NAME}:1")
    assert not ask(lambda gateway: gateway._revoke(dispatch))


def test_an_entry_whose_answer_was_lost_is_there_once(
    client: redis.Redis, way: TcpProxy, at_once: redis.Redis, tmp_path: Path
) -> None:
    client.set(ledger.wanted_key(DISPATCH), 1)
    with node(at_once, tmp_path) as here:
        way.lose_the_answer_to(b"the second line")
        deliver(here, call("print('the first line'); print('the second line')"))
        assert way.lost
    assert told(client)[1:-1] == [sb.Stdout("the first line\n"), sb.Stdout("the second line\n")]


def test_the_end_of_a_call_is_told_when_redis_was_away_for_long(
    client: redis.Redis,
    way: TcpProxy,
    at_once: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client.set(ledger.wanted_key(DISPATCH), 1)
    with node(at_once, tmp_path) as here:
        tell, failed = here._tell, threading.Event()

        def try_to_tell(dispatch: str, number: int, event: NodeEvent) -> None:
            try:
                tell(dispatch, number, event)
            except redis.RedisError:
                failed.set()
                raise

        monkeypatch.setattr(here, "_tell", try_to_tell)
        running = threading.Thread(target=deliver, args=(here, call("wait()")), daemon=True)
        running.start()
        eventually(lambda: told(client) == [sb.Started()])
        way.cut()
        here.manager.interrupt("ci_1")
        assert failed.wait(30)  # the client has tried for as long as it does
        assert told(client) == [sb.Started()]
        way.mend()
        running.join(10)
        (_, end) = told(client)
        assert isinstance(end, sb.Done)
        assert end.status == "cancelled"
