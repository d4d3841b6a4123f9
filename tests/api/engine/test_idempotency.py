"""Claims on idempotency keys, without a database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from apps.api.engine import idempotency
from apps.api.engine.idempotency import Claim
from apps.api.engine.process import Process
from apps.api.errors import Unavailable
from apps.store.errors import StoreUnavailable
from tests.api.engine.twins import in_time, settled, within


class Writer:
    """Stands in for ``in_writer``: notes the units that have run, each when ``hold`` is set."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.reached, self.hold = asyncio.Event(), asyncio.Event()
        self.away = False

    async def __call__(self, unit: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.reached.set()
        await self.hold.wait()
        if self.away:
            raise StoreUnavailable("away")
        self.done.append(unit.__name__)


@pytest.fixture
def writer(monkeypatch: pytest.MonkeyPatch, process: Process) -> Writer:
    async def owner() -> str:
        return "owner"

    made = Writer()
    monkeypatch.setattr(process, "owner", owner)
    monkeypatch.setattr(idempotency, "process", process)
    monkeypatch.setattr(idempotency, "in_writer", made)
    return made


def test_who_leaves_while_the_key_is_taken_does_not_keep_it(
    writer: Writer, process: Process
) -> None:
    async def scenario() -> None:
        asking = asyncio.create_task(idempotency.claim("k", b"{}", project_id=1))
        await in_time(writer.reached)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        writer.hold.set()
        await settled(process)
        assert writer.done == ["claim", "release"]

    within(scenario())


def test_who_leaves_while_it_is_released_changes_nothing(writer: Writer, process: Process) -> None:
    async def scenario() -> None:
        releasing = asyncio.create_task(Claim("resp_1").release())
        await in_time(writer.reached)
        releasing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await releasing
        writer.hold.set()
        await settled(process)
        assert writer.done == ["release"]

    within(scenario())


def test_without_a_database_a_request_with_a_key_is_not_begun(writer: Writer) -> None:
    async def scenario() -> None:
        writer.away = True
        writer.hold.set()
        with pytest.raises(Unavailable):
            await idempotency.claim("k", b"{}", project_id=1)
        await Claim("resp_1").release()  # is logged

    within(scenario())
