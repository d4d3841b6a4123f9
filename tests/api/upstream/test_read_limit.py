"""The time limit of reads: it ends the wait that is too long, and only that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from apps.api.upstream.read_limit import ReadLimit

SOON, LATER = 0.2, 30.0


def in_loop(scenario: Callable[[ReadLimit], Awaitable[None]]) -> None:
    async def main() -> None:
        limit = ReadLimit()
        await scenario(limit)
        limit.close()

    asyncio.run(main())


def now() -> float:
    return asyncio.get_running_loop().time()


async def wait(limit: ReadLimit, event: asyncio.Event, seconds: float) -> None:
    with limit.until(now() + seconds):
        await event.wait()


async def short_wait(limit: ReadLimit, seconds: float) -> None:
    """One that ends in the next turn of the loop."""
    event = asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)
    await wait(limit, event, seconds)


def test_a_wait_that_is_too_long_ends() -> None:
    async def scenario(limit: ReadLimit) -> None:
        with pytest.raises(TimeoutError):
            await wait(limit, asyncio.Event(), SOON)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    in_loop(scenario)


def test_a_limit_in_the_past_ends_the_wait_at_once() -> None:
    async def scenario(limit: ReadLimit) -> None:
        with pytest.raises(TimeoutError):
            await wait(limit, asyncio.Event(), -1)

    in_loop(scenario)


def test_a_later_wait_has_its_own_limit_whichever_comes_first() -> None:
    async def scenario(limit: ReadLimit) -> None:
        await short_wait(limit, LATER)
        with pytest.raises(TimeoutError):
            await wait(limit, asyncio.Event(), SOON)
        await short_wait(limit, SOON)
        event = asyncio.Event()
        asyncio.get_running_loop().call_later(2 * SOON, event.set)
        await wait(limit, event, LATER)

    in_loop(scenario)


def test_the_time_between_waits_does_not_count() -> None:
    async def scenario(limit: ReadLimit) -> None:
        await short_wait(limit, SOON)
        passed = asyncio.Event()
        asyncio.get_running_loop().call_later(2 * SOON, passed.set)
        await passed.wait()
        await short_wait(limit, SOON)

    in_loop(scenario)


def test_many_waits_share_a_timer() -> None:
    async def scenario(limit: ReadLimit) -> None:
        await short_wait(limit, LATER)
        first = limit._timer
        for _ in range(5):
            await short_wait(limit, LATER)
        assert first is not None
        assert limit._timer is first
        limit.close()
        assert first.cancelled()

    in_loop(scenario)


def test_a_wait_can_be_ended_from_outside() -> None:
    async def scenario(limit: ReadLimit) -> None:
        asyncio.get_running_loop().call_soon(limit.expire)
        with pytest.raises(TimeoutError):
            await wait(limit, asyncio.Event(), LATER)
        limit.expire()  # nobody waits
        await short_wait(limit, LATER)

    in_loop(scenario)


@pytest.mark.parametrize("also_expired", [False, True])
def test_a_task_that_is_cancelled_stays_cancelled(also_expired: bool) -> None:
    async def scenario(limit: ReadLimit) -> None:
        task = asyncio.create_task(wait(limit, asyncio.Event(), LATER))
        await asyncio.wait([task], timeout=0)
        if also_expired:
            limit.expire()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    in_loop(scenario)


def test_other_errors_pass() -> None:
    async def scenario(limit: ReadLimit) -> None:
        with pytest.raises(ValueError, match="no"), limit.until(now() + LATER):
            raise ValueError("no")

    in_loop(scenario)
