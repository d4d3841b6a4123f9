"""The tool host: conversations with services over a socket that is only ours."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest
from pytest_django import Settings

from apps.tools.base import ToolUnavailable
from apps.tools.host import CannotHostError, socket_path
from apps.tools.host_client import HostGone, HostRefused, ask, converse
from tests.tools.services import Echo, hosting


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, settings: Settings) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path


def test_a_service_answers_with_json_and_bytes() -> None:
    async def scenario() -> None:
        async with (
            hosting(socket_path(), [Echo()]),
            converse("echo", {"do": "say", "word": "hé"}, b"\0\xff") as talk,
        ):
            assert [frame async for frame in talk] == [({"said": "hé"}, b"\0\xff")]

    asyncio.run(scenario())


def test_caller_and_service_talk_both_ways() -> None:
    async def scenario() -> None:
        big = os.urandom(3_000_000)
        async with hosting(socket_path(), [Echo()]), converse("echo", {"do": "talk"}) as talk:
            await talk.send({"n": 1}, big)
            await talk.send({"n": 2})
            await talk.send({})
            heard = [frame async for frame in talk]
        assert heard == [({"heard": {"n": 1}}, big), ({"heard": {"n": 2}}, b"")]

    asyncio.run(scenario())


def test_what_a_service_refuses_is_told_in_its_words_and_what_breaks_is_not() -> None:
    async def scenario() -> None:
        async with hosting(socket_path(), [Echo()]):
            with pytest.raises(HostRefused, match=r"Not today\.") as refused:
                await ask("echo", {"do": "refuse"})
            assert refused.value.kind == "closed"
            with pytest.raises(HostRefused) as broken:
                await ask("echo", {"do": "break"})
            assert "secret" not in str(broken.value)
            with pytest.raises(HostRefused) as unknown:
                await ask("no such", {})
            assert unknown.value.kind == "unknown_service"

    asyncio.run(scenario())


def test_a_caller_who_goes_away_ends_what_was_done_for_them() -> None:
    async def scenario() -> None:
        echo = Echo()
        async with hosting(socket_path(), [echo]):
            async with converse("echo", {"do": "wait"}):
                await asyncio.wait_for(echo.waiting.wait(), 5)
            await asyncio.wait_for(echo.left.wait(), 5)

    asyncio.run(scenario())


def test_a_host_that_stops_lets_go_of_its_services_and_its_callers() -> None:
    async def scenario() -> None:
        echo = Echo()
        async with hosting(socket_path(), [echo]) as serving:
            async with converse("echo", {"do": "wait"}) as talk:
                await asyncio.wait_for(echo.waiting.wait(), 5)
                serving.cancel()
                with pytest.raises(HostGone):
                    [frame async for frame in talk]
            await asyncio.gather(serving, return_exceptions=True)
        assert echo.stopped
        assert not socket_path().exists()

    asyncio.run(scenario())


def test_without_a_host_the_error_says_how_to_start_one() -> None:
    async def scenario() -> None:
        with pytest.raises(ToolUnavailable, match=r"manage\.py toolhost"):
            await ask("echo", {"do": "say", "word": "x"})

    asyncio.run(scenario())


def test_only_its_own_user_may_open_the_socket() -> None:
    async def scenario() -> None:
        async with hosting(socket_path(), [Echo()]):
            assert stat.S_IMODE(socket_path().stat().st_mode) == 0o600

    asyncio.run(scenario())


def test_there_is_one_host_per_data_folder() -> None:
    async def scenario() -> None:
        async with hosting(socket_path(), [Echo()]):
            with pytest.raises(CannotHostError, match="Another tool host"):
                async with hosting(socket_path(), [Echo()]):
                    pass
            assert await ask("echo", {"do": "say", "word": "still"}) == {"said": "still"}

    asyncio.run(scenario())


def test_the_socket_of_a_host_that_was_killed_is_taken_over() -> None:
    async def scenario() -> None:
        socket_path().touch()
        async with hosting(socket_path(), [Echo()]):
            assert await ask("echo", {"do": "say", "word": "new"}) == {"said": "new"}

    asyncio.run(scenario())


def test_the_host_tells_what_its_services_tell() -> None:
    async def scenario() -> None:
        async with hosting(socket_path(), [Echo()]):
            assert await ask("host", {}) == {"services": {"echo": {"started": True}}}

    asyncio.run(scenario())


def test_what_is_no_frame_ends_the_conversation_only() -> None:
    async def scenario() -> None:
        async with hosting(socket_path(), [Echo()]):
            for rubbish in (b"\xff" * 64, b"\0\0\0\x02\0\0\0\0[]", b"\0\0\0\x01\0\0\0\0{", b"x"):
                reader, writer = await asyncio.open_unix_connection(str(socket_path()))
                writer.write(rubbish)
                writer.write_eof()
                assert await asyncio.wait_for(reader.read(), 5) == b""
                writer.close()
                await writer.wait_closed()
            assert await ask("echo", {"do": "say", "word": "on"}) == {"said": "on"}

    asyncio.run(scenario())
