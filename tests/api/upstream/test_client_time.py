"""Turns that are silent for too long, last too long, or are told to end."""

from __future__ import annotations

import asyncio
import threading

import pytest
from pytest_django.fixtures import Settings

from apps.api.protocol.deltas import (
    TextDelta,
)
from apps.api.upstream.errors import (
    UpstreamBroke,
    UpstreamTimeout,
)
from tests.api.upstream.turns import (
    all_aborted,
    ask,
    in_loop,
    is_reading,
    opened,
    read_all,
)
from tests.scripted_vllm import (
    ScriptedVLLM,
    pause,
    text,
)

STREAMED = [True, False]


# --- Time -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", STREAMED)
def test_silence_before_the_headers_ends_in_time(
    server: ScriptedVLLM, settings: Settings, stream: bool
) -> None:
    settings.GATEWAY_FIRST_BYTE_TIMEOUT = 0.2
    server.script(text("a", hang_before_headers=threading.Event()))
    assert type(ask(stream=stream)[1]) is UpstreamTimeout
    server.wait_until(lambda: all_aborted(server))


def test_silence_before_the_first_token_ends_in_time(
    server: ScriptedVLLM, settings: Settings
) -> None:
    """The opening chunk says nothing: it is no token."""
    settings.GATEWAY_FIRST_BYTE_TIMEOUT, settings.GATEWAY_IDLE_TIMEOUT = 0.2, 30
    server.script(pause(threading.Event()) + text("a"))
    deltas, failed = ask()
    assert deltas == []
    assert type(failed) is UpstreamTimeout
    server.wait_until(lambda: all_aborted(server))


def test_silence_between_tokens_ends_in_time(server: ScriptedVLLM, settings: Settings) -> None:
    settings.GATEWAY_FIRST_BYTE_TIMEOUT, settings.GATEWAY_IDLE_TIMEOUT = 30, 0.2
    server.script(text("a") + pause(threading.Event()) + text("b"))
    deltas, failed = ask()
    assert deltas == [TextDelta("a")]
    assert type(failed) is UpstreamTimeout
    server.wait_until(lambda: all_aborted(server))


def test_the_first_token_may_take_longer_than_the_next(
    server: ScriptedVLLM, settings: Settings
) -> None:
    settings.GATEWAY_FIRST_BYTE_TIMEOUT, settings.GATEWAY_IDLE_TIMEOUT = 30, 0.1
    go = threading.Event()
    server.script(text("a", hang_before_headers=go))
    threading.Timer(0.3, go.set).start()
    assert ask()[1] is None


def test_a_run_that_lasts_too_long_is_ended_while_it_speaks(
    server: ScriptedVLLM, settings: Settings
) -> None:
    settings.GATEWAY_FIRST_BYTE_TIMEOUT = settings.GATEWAY_IDLE_TIMEOUT = 30
    server.script(text(*["a"] * 1000, delay=0.02))
    deltas, failed = ask(within=0.5)
    assert deltas
    assert type(failed) is UpstreamTimeout
    server.wait_until(lambda: all_aborted(server))


def test_a_run_that_is_over_does_not_wait_for_headers(server: ScriptedVLLM) -> None:
    server.script(text("a", hang_before_headers=threading.Event()))
    assert type(ask(within=0.2)[1]) is UpstreamTimeout


def test_an_error_body_that_hangs_ends_in_time(server: ScriptedVLLM, settings: Settings) -> None:
    settings.GATEWAY_FIRST_BYTE_TIMEOUT = 0.3
    server.script(text("a", status=500) + pause(threading.Event()))
    assert type(ask()[1]) is UpstreamTimeout
    server.wait_until(lambda: all_aborted(server))


# --- Interruption ---------------------------------------------------------------------------------


def test_a_read_that_waits_is_interrupted(server: ScriptedVLLM) -> None:
    server.script(text("a") + pause(threading.Event()))

    async def scenario() -> None:
        turn = await opened()
        assert await turn.read() == [TextDelta("a")]
        reading = asyncio.create_task(turn.read())
        await asyncio.wait([reading], timeout=0)  # lets it begin
        assert is_reading(turn)
        turn.interrupt()
        with pytest.raises(UpstreamBroke, match="interrupted"):
            await reading
        await turn.close()

    in_loop(scenario)
    server.wait_until(lambda: all_aborted(server))


def test_a_read_after_an_interruption_fails_at_once(server: ScriptedVLLM) -> None:
    server.script(text("a") + pause(threading.Event()))

    async def scenario() -> None:
        turn = await opened()
        turn.interrupt()
        with pytest.raises(UpstreamBroke, match="interrupted"):
            await turn.read()
        await turn.close()

    in_loop(scenario)


def test_a_turn_that_has_ended_is_not_interrupted(server: ScriptedVLLM) -> None:
    async def scenario() -> None:
        turn = await opened()
        _, failed = await read_all(turn)
        turn.interrupt()
        assert failed is None
        assert await turn.read() is None

    in_loop(scenario)
