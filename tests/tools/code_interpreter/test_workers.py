"""Code in real Celery workers over a real Redis: where a call goes, and that it runs once."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
import warnings
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from amqp.exceptions import AccessRefused
from celery import current_app
from kombu.exceptions import OperationalError
from pytest_django import Settings

from apps.tools.base import ToolUnavailable
from apps.tools.code_interpreter import ledger, scaled
from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.calls import Call, Failed, NodeEvent, Note, Placed
from apps.tools.code_interpreter.manager import RESTARTED
from apps.tools.code_interpreter.scaled import WorkerNodes
from tests.programs import Program, eventually
from tests.tools.code_interpreter.nodes import Box

# Kombu's transport leaves the sockets of connections that it only tried to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

WORKER = [sys.executable, "-m", "tests.tools.code_interpreter.scripted_worker"]


class Worker:
    """A sandbox worker as a child; ``ran`` is what cells wrote down."""

    def __init__(self, url: str, folder: Path, **settings: str) -> None:
        folder.mkdir(parents=True)
        bare = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
        own = {
            "GATEWAY_SANDBOX_REDIS_URL": url,
            "GATEWAY_DATA_DIR": str(folder),
            "PYTHONWARNINGS": "ignore",  # Celery's, of a worker that runs as root
        }
        self.program = Program(WORKER, env=bare | own | settings)
        self.name = self.program.line("sandbox worker ready").split("node=")[1].split()[0]

    def kill(self) -> None:
        self.program.signal(signal.SIGKILL)
        self.program.wait()


@pytest.fixture(scope="module", autouse=True)
def broker(redis_url: str) -> Iterator[None]:
    """Celery's application of this process uses the Redis of the tests."""
    configuration: Any = current_app.conf
    before = configuration.broker_url
    configuration.broker_url = redis_url
    yield
    pool: Any = current_app.pool
    pool.force_close_all()
    # What the line above leaves is collected here, so that no later test is blamed for it.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    configuration.broker_url = before


@pytest.fixture(autouse=True)
def configured(redis_url: str, settings: Settings) -> None:
    settings.GATEWAY_SANDBOX_REDIS_URL = settings.CELERY_BROKER_URL = redis_url
    settings.GATEWAY_SANDBOX_QUEUE_SECONDS = 10.0


@pytest.fixture
def worker(client: redis.Redis, redis_url: str, tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    made: list[Worker] = []

    def make(**settings: str) -> Worker:
        made.append(Worker(redis_url, tmp_path / f"worker{len(made)}", **settings))
        name = made[-1].name
        eventually(lambda: client.zscore(ledger.NODES, name) is not None)
        return made[-1]

    yield make
    for each in made:
        each.program.close()


def call(code: str, container: str = "cntr_1", **values: Any) -> Call:
    number = os.urandom(8).hex()
    return Call(id=f"ci_{number}", container_id=container, code=code, **values)


class Gateway(WorkerNodes):
    """The workers as a gateway has them."""

    async def all_of(self, made: Call) -> list[NodeEvent]:
        return [event async for event in self.run(made, Box())]

    async def begin(self, made: Call) -> AsyncGenerator[NodeEvent, None]:
        """The events after the start of the code."""
        events = self.run(made, Box())
        async for event in events:
            if isinstance(event, sb.Started):
                break
        return events


def with_gateway(scenario: Callable[[Gateway], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        gateway = Gateway()
        try:
            await asyncio.wait_for(scenario(gateway), 60)
        finally:
            await gateway.close()

    asyncio.run(whole())


def out(events: list[NodeEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, sb.Stdout))


def test_code_runs_in_a_worker_and_its_variables_stay_there(
    worker: Callable[..., Worker],
) -> None:
    here = worker()

    async def scenario(gateway: Gateway) -> None:
        events = await gateway.all_of(call("x = 41; show('image/png', b'\\x89PNG'); print('done')"))
        assert events[:3] == [
            Placed(here.name, 1),
            sb.Started(),
            sb.Display("image/png", b"\x89PNG"),
        ]
        assert isinstance(events[-1], sb.Done)
        assert out(await gateway.all_of(call("print(x + 1)", epoch=1, stateful=True))) == "42\n"

    with_gateway(scenario)


def test_output_arrives_while_the_code_runs(worker: Callable[..., Worker]) -> None:
    worker()

    async def scenario(gateway: Gateway) -> None:
        events = gateway.run(call("wait()"), Box())
        assert [type(await anext(events)) for _ in range(2)] == [Placed, sb.Started]
        await events.aclose()

    with_gateway(scenario)


def test_leaving_interrupts_the_code_in_the_worker(worker: Callable[..., Worker]) -> None:
    worker()

    async def scenario(gateway: Gateway) -> None:
        events = await gateway.begin(call("x = 1; wait()"))
        await events.aclose()
        assert out(await gateway.all_of(call("print(x)", epoch=1, stateful=True))) == "1\n"

    with_gateway(scenario)


def test_leaving_is_heeded_at_any_moment(
    worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scaled, "LISTEN_MS", 1)  # it is always about to ask Redis
    worker()

    async def scenario(gateway: Gateway) -> None:
        for moment in range(60):
            running = asyncio.create_task(gateway.all_of(call("wait()")))
            await asyncio.sleep(0.05 + moment / 1000)
            running.cancel()
            await asyncio.wait([running], timeout=5)
            assert running.cancelled()

    with_gateway(scenario)


def test_a_worker_that_is_killed_costs_the_running_call_an_outcome_and_later_ones_nothing(
    worker: Callable[..., Worker], client: redis.Redis, tmp_path: Path
) -> None:
    first = worker()
    trace = tmp_path / "trace"

    async def scenario(gateway: Gateway) -> None:
        code = f"open({str(trace)!r}, 'a').write('ran '); wait()"
        events = await gateway.begin(call(code))
        second = await asyncio.to_thread(worker)
        first.kill()
        client.delete(ledger.node_key(first.name))  # as it will be when its lease has run out
        client.zrem(ledger.NODES, first.name)
        end = [event async for event in events][-1]
        assert isinstance(end, Failed)
        assert end.kind == "lost"
        assert trace.read_text() == "ran "
        later = await gateway.all_of(call("print('fresh')", epoch=1, stateful=True))
        assert later[0] == Placed(second.name, 2)
        assert Note(RESTARTED) in later
        assert out(later) == "fresh\n"

    with_gateway(scenario)


def test_a_call_that_a_dead_worker_had_not_claimed_runs_elsewhere_and_only_there(
    worker: Callable[..., Worker], client: redis.Redis, tmp_path: Path
) -> None:
    first = worker()
    trace = tmp_path / "trace"

    async def scenario(gateway: Gateway) -> None:
        await gateway.all_of(call("x = 1"))
        first.program.signal(signal.SIGSTOP)
        second = await asyncio.to_thread(worker)
        code = f"open({str(trace)!r}, 'a').write('ran ')"
        events = gateway.run(call(code, epoch=1, stateful=True), Box())
        assert await anext(events) == Placed(first.name, 1)
        client.delete(ledger.node_key(first.name))
        client.zrem(ledger.NODES, first.name)
        assert await anext(events) == Placed(second.name, 2)
        assert isinstance([event async for event in events][-1], sb.Done)
        first.program.signal(signal.SIGCONT)  # it finds the call in its queue, and has no claim
        await asyncio.to_thread(first.program.line, "call not ours")
        assert trace.read_text() == "ran "

    with_gateway(scenario)


def test_a_call_whose_claim_redis_has_forgotten_is_given_to_nobody_else(
    worker: Callable[..., Worker], client: redis.Redis, tmp_path: Path
) -> None:
    first = worker(GATEWAY_SANDBOX_MAX_SESSIONS="1")
    trace = tmp_path / "trace"

    async def scenario(gateway: Gateway) -> None:
        busy = await gateway.begin(call("wait()", "cntr_2"))
        waits = call(f"open({str(trace)!r}, 'a').write('ran ')")
        waiting = asyncio.create_task(gateway.all_of(waits))
        claim = ledger.claim_key(f"{waits.id}.1")
        await asyncio.to_thread(eventually, lambda: client.exists(claim))
        second = await asyncio.to_thread(worker)
        first.program.signal(signal.SIGSTOP)  # its next beat comes late
        said: Any = client.hgetall(ledger.node_key(second.name))
        client.delete(*client.keys(f"{ledger.PREFIX}*"))  # as a restart without a disk does
        client.hset(ledger.node_key(second.name), mapping=said)
        client.zadd(ledger.NODES, {second.name: (time.time() + 60) * 1000})
        end = (await waiting)[-1]
        first.program.signal(signal.SIGCONT)
        await busy.aclose()
        assert end == Failed("lost", scaled.FORGOTTEN)
        assert not trace.exists() or trace.read_text() == "ran "

    with_gateway(scenario)


def test_a_claimed_call_of_which_nothing_is_heard_ends_as_lost(
    worker: Callable[..., Worker],
    client: redis.Redis,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its worker lives: it could not tell, or it has forgotten."""
    here = worker()
    settings.GATEWAY_SANDBOX_QUEUE_SECONDS = 0.5
    monkeypatch.setattr(scaled, "MARGIN_S", 0.5)

    async def scenario(gateway: Gateway) -> None:
        made = call("pass", limits=sb.Limits(wall_s=0.1, grace_s=0.1))
        client.set(ledger.claim_key(f"{made.id}.1"), f"{here.name}:another")
        end = (await gateway.all_of(made))[-1]
        assert isinstance(end, Failed)
        assert (end.kind, end.message) == ("lost", scaled.SILENT)

    with_gateway(scenario)


def test_a_call_that_is_delivered_twice_runs_once(
    worker: Callable[..., Worker], client: redis.Redis, tmp_path: Path
) -> None:
    here = worker()
    trace = tmp_path / "trace"
    made = call(f"open({str(trace)!r}, 'a').write('ran ')")
    message = {"dispatch": "d1", "call": made.to_json()}
    client.set(ledger.wanted_key("d1"), 1)
    for _ in range(2):
        current_app.send_task(ledger.TASK, args=[message], queue=ledger.queue_name(here.name))
    here.program.line("call not ours")
    eventually(trace.exists)
    assert trace.read_text() == "ran "


def test_what_nobody_waits_for_any_more_does_not_run(
    worker: Callable[..., Worker], client: redis.Redis, tmp_path: Path
) -> None:
    here = worker()
    trace = tmp_path / "trace"
    message = {"dispatch": "d1", "call": call(f"open({str(trace)!r}, 'a')").to_json()}
    current_app.send_task(ledger.TASK, args=[message], queue=ledger.queue_name(here.name))
    eventually(lambda: client.exists(ledger.events_key("d1")))
    assert not trace.exists()


def test_containers_spread_over_workers_and_stay_where_they_are(
    worker: Callable[..., Worker],
) -> None:
    names = {worker().name, worker().name}

    async def scenario(gateway: Gateway) -> None:
        homes = {}
        for container in ("cntr_a", "cntr_b"):
            homes[container] = (await gateway.all_of(call("pass", container)))[0]
        assert {home.node for home in homes.values() if isinstance(home, Placed)} == names
        for container, home in homes.items():
            assert (await gateway.all_of(call("pass", container, epoch=1)))[0] == home

    with_gateway(scenario)


def test_a_worker_that_stops_ends_what_it_has_and_takes_nothing_new(
    worker: Callable[..., Worker], client: redis.Redis
) -> None:
    first = worker()

    async def scenario(gateway: Gateway) -> None:
        await gateway.all_of(call("x = 1"))
        first.program.signal(signal.SIGTERM)
        await asyncio.to_thread(first.program.wait)
        assert client.zscore(ledger.NODES, first.name) is None
        (refused,) = await gateway.all_of(call("x", epoch=1))
        assert isinstance(refused, Failed)
        assert "manage.py worker" in refused.message

    with_gateway(scenario)


def test_without_a_worker_the_error_says_how_to_start_one(client: redis.Redis) -> None:
    async def scenario(gateway: Gateway) -> None:
        with pytest.raises(ToolUnavailable, match=r"manage\.py worker"):
            await gateway.status()

    with_gateway(scenario)


def test_who_calls_is_not_told_where_redis_is(settings: Settings) -> None:
    settings.GATEWAY_SANDBOX_REDIS_URL = "redis://127.0.0.1:1/0"

    async def scenario(gateway: Gateway) -> None:
        with pytest.raises(ToolUnavailable, match="does not answer") as refused:
            await gateway.status()
        (lost,) = await gateway.all_of(call("print(1)"))
        assert isinstance(lost, Failed)
        assert str(refused.value) == lost.message
        assert "127.0.0.1" not in lost.message

    with_gateway(scenario)


@pytest.mark.parametrize(
    "reason",
    [OperationalError("[Errno 111] Connection refused: 10.1.2.3"), AccessRefused("guest")],
    ids=["away", "refuses"],
)
def test_who_calls_is_not_told_what_is_wrong_with_the_broker(
    reason: Exception, worker: Callable[..., Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker()

    def away(dispatch: scaled.Dispatch) -> None:
        raise reason

    monkeypatch.setattr(scaled, "_send", away)

    async def scenario(gateway: Gateway) -> None:
        failed = (await gateway.all_of(call("print(1)")))[-1]
        assert failed == Failed("unavailable", scaled.NO_BROKER)

    with_gateway(scenario)


def test_a_container_can_be_discarded_from_afar(
    worker: Callable[..., Worker],
) -> None:
    worker()

    async def scenario(gateway: Gateway) -> None:
        await gateway.all_of(call("x = 1"))
        await gateway.discard("cntr_1")

        async def gone() -> bool:
            events = await gateway.all_of(call("print('x' in globals())", epoch=1))
            return out(events) == "False\n"

        while not await gone():  # noqa: ASYNC110 - the word travels beside the queue
            await asyncio.sleep(0.05)

    with_gateway(scenario)


def test_the_worker_knows_no_secret_of_the_gateway(worker: Callable[..., Worker]) -> None:
    worker(GATEWAY_SECRET_KEY="hidden", DATABASE_URL="postgresql://nowhere/none")

    async def scenario(gateway: Gateway) -> None:
        code = (
            "import os, sys; from django.conf import settings; "
            "print([n for n in [*dir(settings), *os.environ] if 'ENCRYPTION' in n], "
            "[settings.DATABASES['default']['NAME']], "
            "[m for m in sys.modules if m.startswith('apps.store')])\n"
            "settings.SECRET_KEY"
        )
        events = await gateway.all_of(call(code))
        assert out(events) == "[] [''] []\n"
        (error,) = [event for event in events if isinstance(event, sb.Error)]
        assert error.value == "The SECRET_KEY setting must not be empty."

    with_gateway(scenario)
