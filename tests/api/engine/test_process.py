"""The life of a process: one lease at a time, and what is left to do."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from pytest_django import Settings

from apps.api.engine import process as process_module
from apps.api.engine.process import Process
from apps.api.errors import Unavailable
from apps.store.errors import StoreUnavailable


class Leases:
    """Stands in for ``in_writer``: a database with leases."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self.valid: set[str] = set()
        self.away = False
        self._numbers = itertools.count(1)

    async def __call__(self, unit: Callable[..., Any], *args: Any) -> Any:
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnavailable("away")
        self.calls.append((unit.__name__, args))
        match unit.__name__:
            case "acquire":
                self.valid.add(owner := f"owner-{next(self._numbers)}")
                return owner
            case "renew":
                return args[0] in self.valid
            case "release":
                self.valid.discard(args[0])
        return 0

    def count(self, name: str) -> int:
        return [called for called, _ in self.calls].count(name)


@pytest.fixture
def leases(monkeypatch: pytest.MonkeyPatch) -> Leases:
    twin = Leases()
    monkeypatch.setattr(process_module, "in_writer", twin)
    return twin


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(5):
            await scenario()

    asyncio.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.001)


def test_those_who_come_at_once_get_one_owner(leases: Leases, process: Process) -> None:
    async def scenario() -> None:
        owners = await asyncio.gather(*(process.owner() for _ in range(20)))
        assert set(owners) == {"owner-1"}
        assert leases.count("acquire") == 1
        await process.stop()
        assert not leases.valid

    run(scenario)


def test_an_owner_costs_nothing_while_its_lease_is_valid(leases: Leases, process: Process) -> None:
    async def scenario() -> None:
        await process.owner()
        await until(lambda: leases.count("sweep") == 1)
        calls = len(leases.calls)
        assert await process.owner() == "owner-1"
        assert len(leases.calls) == calls
        await process.stop()

    run(scenario)


def test_the_lease_is_renewed_while_the_process_lives(
    leases: Leases, process: Process, settings: Settings
) -> None:
    settings.GATEWAY_LEASE_SECONDS = 0.03

    async def scenario() -> None:
        await process.start()
        await until(lambda: leases.count("renew") > 6)
        assert leases.count("acquire") == 1
        assert leases.count("sweep") <= 1 + leases.count("renew") / 3
        await process.stop()

    run(scenario)


def test_a_lost_lease_is_never_taken_up_again(
    leases: Leases, process: Process, settings: Settings
) -> None:
    settings.GATEWAY_LEASE_SECONDS = 0.03

    async def scenario() -> None:
        assert await process.owner() == "owner-1"
        leases.valid.clear()
        await until(lambda: leases.count("acquire") == 2)
        assert await process.owner() == "owner-2"
        await process.stop()

    run(scenario)


def test_a_run_that_begins_after_an_outage_gets_a_valid_owner_at_once(
    leases: Leases, process: Process, settings: Settings
) -> None:
    settings.GATEWAY_LEASE_SECONDS = 0.3

    async def scenario() -> None:
        await process.owner()
        leases.away = True
        leases.valid.clear()
        await until(lambda: process._clock() > process._valid_until)
        with pytest.raises(StoreUnavailable):
            await process.owner()
        leases.away = False
        assert await process.owner() == "owner-2"
        await process.stop()

    run(scenario)


def test_a_lease_that_could_not_be_renewed_is_tried_again_before_it_runs_out(
    leases: Leases, process: Process, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.GATEWAY_LEASE_SECONDS = 3600
    monkeypatch.setattr(process_module, "RETRY", 0.01)

    async def scenario() -> None:
        leases.away = True
        await process.start()
        await asyncio.sleep(0.03)
        leases.away = False
        await until(lambda: leases.count("sweep") == 1)
        assert await process.owner() == "owner-1"
        await process.stop()

    run(scenario)


def test_runs_whose_end_is_not_stored_are_given_up_once_that_is_possible(
    leases: Leases, process: Process, settings: Settings
) -> None:
    settings.GATEWAY_LEASE_SECONDS = 0.03

    async def scenario() -> None:
        await process.owner()
        leases.away = True
        process.unsettled("resp_1")
        await asyncio.sleep(0)
        leases.away = False
        await until(lambda: leases.count("give_up") > 0)
        beats = leases.count("renew")
        await until(lambda: leases.count("renew") > beats + 2)
        assert [args for name, args in leases.calls if name == "give_up"] == [
            (frozenset({"resp_1"}),)
        ]
        await process.stop()

    run(scenario)


def test_a_process_that_drains_takes_nothing_new(process: Process) -> None:
    process.check_open()
    process.draining = True
    with pytest.raises(Unavailable) as caught:
        process.check_open()
    assert caught.value.headers == {"Retry-After": "2"}


def test_stopping_waits_for_what_is_still_to_be_done(leases: Leases, process: Process) -> None:
    async def scenario() -> None:
        done = []

        async def work() -> None:
            await asyncio.sleep(0.01)
            done.append(True)

        process.afterwards(work())
        assert process.active == 1
        await process.stop()
        assert done == [True]

    run(scenario)


def test_stopping_without_a_database_is_no_error(leases: Leases, process: Process) -> None:
    async def scenario() -> None:
        await process.owner()
        leases.away = True
        await process.stop()

    run(scenario)
