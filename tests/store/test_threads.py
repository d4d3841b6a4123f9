"""The threads in which the database is used."""

from __future__ import annotations

import asyncio
import threading

import pytest

from apps.store.threads import Threads


def test_results_and_errors_come_back_to_the_loop() -> None:
    async def scenario() -> None:
        threads = Threads(2, name="test")
        assert await threads.run(lambda: threading.current_thread().name) in {"test-0", "test-1"}
        with pytest.raises(ZeroDivisionError):
            await threads.run(lambda: 1 // 0)
        assert await asyncio.gather(*[threads.run(lambda: 1) for _ in range(50)]) == [1] * 50

    asyncio.run(scenario())


def test_what_has_begun_is_ended_and_what_has_not_is_left_out() -> None:
    begun, go_on, done = threading.Event(), threading.Event(), []

    def slow() -> None:
        begun.set()
        go_on.wait(10)
        done.append("slow")

    async def scenario() -> None:
        threads = Threads(1, name="test")
        first = asyncio.create_task(threads.run(slow))
        await asyncio.to_thread(begun.wait, 10)
        second = asyncio.create_task(threads.run(lambda: done.append("second")))
        await asyncio.sleep(0)
        first.cancel()
        second.cancel()
        await asyncio.wait([first, second])
        go_on.set()
        await threads.run(lambda: done.append("third"))

    asyncio.run(scenario())
    assert done == ["slow", "third"]


def test_what_is_asked_before_it_begins_is_done_together() -> None:
    begun, go_on = threading.Event(), threading.Event()
    asked: list[list[int]] = []

    def slow() -> None:
        begun.set()
        go_on.wait(10)

    def halves(numbers: list[int]) -> list[int | Exception]:
        asked.append(numbers)
        return [number // 2 if number % 2 == 0 else ValueError(number) for number in numbers]

    async def scenario() -> None:
        threads = Threads(1, name="test")
        first = asyncio.create_task(threads.run(slow))
        await asyncio.to_thread(begun.wait, 10)
        waiting = [asyncio.create_task(threads.together(halves, number)) for number in range(4)]
        await asyncio.sleep(0)
        waiting[2].cancel()
        go_on.set()
        results = await asyncio.gather(first, *waiting, return_exceptions=True)
        assert results[1] == 0
        assert [type(each) for each in results[2:]] == [
            ValueError, asyncio.CancelledError, ValueError,
        ]  # fmt: skip
        assert await threads.together(halves, 6) == 3

    asyncio.run(scenario())
    assert asked == [[0, 1, 3], [6]]


def test_an_error_is_everybodys() -> None:
    def fails(numbers: list[int]) -> list[int | Exception]:
        raise ZeroDivisionError

    async def scenario() -> None:
        threads = Threads(1, name="test")
        results = await asyncio.gather(
            *[threads.together(fails, number) for number in range(3)], return_exceptions=True
        )
        assert all(isinstance(result, ZeroDivisionError) for result in results)

    asyncio.run(scenario())
