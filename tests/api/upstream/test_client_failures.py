"""What the upstream refuses and what breaks on the way to it: which error comes of it, and when."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from apps.api.protocol.deltas import (
    TextDelta,
    TurnEnd,
)
from apps.api.upstream.client import ChatUpstream
from apps.api.upstream.errors import (
    UpstreamBroke,
    UpstreamRefused,
    UpstreamUnreachable,
)
from tests.api.upstream.recorded_refusals import GENERIC, REFUSALS
from tests.api.upstream.turns import (
    ask,
    in_loop,
    opened,
    read_all,
    text_of,
)
from tests.scripted_vllm import (
    Reply,
    ScriptedVLLM,
    body,
    error,
    failure,
    garbage,
    raw,
    recorded,
    text,
)

STREAMED = [True, False]


# --- Refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", sorted(REFUSALS))
def test_a_recorded_refusal_is_read(server: ScriptedVLLM, case: str) -> None:
    server.script(recorded(case))
    deltas, failed = ask()
    assert deltas == []
    assert isinstance(failed, UpstreamRefused)
    assert (failed.status, str(failed), failed.param) == (
        REFUSALS[case].status,
        REFUSALS[case].message,
        REFUSALS[case].param,
    )


@pytest.mark.parametrize(
    ("reply", "status", "message"),
    [
        (body({"detail": "Not Found"}, status=404), 404, GENERIC),
        (body({"detail": [{"msg": "Field required"}]}, status=422), 422, GENERIC),
        (body({"object": "error", "message": "No.", "code": 400}, status=400), 400, "No."),
        (body({"error": {"message": None}}, status=500), 500, GENERIC),
        (body([], status=500), 500, GENERIC),
        (body(b"", status=502), 502, GENERIC),
        (body(b"<html>Bad Gateway</html>", status=502, content_type="text/html"), 502, GENERIC),
        (body(b"\xff" * 200_000, status=500), 500, GENERIC),
        (body({"error": {"message": "x" * 900}}, status=400), 400, "x" * 500),
        (failure(500, "Traceback (most recent call last)"), 500, GENERIC),
        (body(b"", status=307, headers={"location": "http://127.0.0.1:9/"}), 307, GENERIC),
    ],
)
def test_a_refusal_of_any_shape_has_a_status_and_a_sentence(
    server: ScriptedVLLM, reply: Reply, status: int, message: str
) -> None:
    server.script(reply)
    _, failed = ask()
    assert isinstance(failed, UpstreamRefused)
    assert (failed.status, str(failed)) == (status, message)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0", 0.0), ("soon", None), ("inf", None), ("-1", None), ("", None)],
)
def test_the_time_to_wait_is_passed_on_when_it_is_a_number(
    server: ScriptedVLLM, header: str, seconds: float | None
) -> None:
    server.script(failure(503, "Busy.", headers={"retry-after": header}))
    _, failed = ask()
    assert failed is not None
    assert failed.retry_after == seconds


def test_a_refusal_whose_body_breaks_keeps_its_status(server: ScriptedVLLM) -> None:
    server.script(failure(503, "Busy.", cut_after=0))
    _, failed = ask()
    assert isinstance(failed, UpstreamRefused)
    assert (failed.status, str(failed)) == (503, GENERIC)


# --- What breaks ----------------------------------------------------------------------------------


def test_a_refused_connection_is_tried_twice(settings: Settings) -> None:
    """Nothing was sent: asking once more cannot run anything twice."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        settings.GATEWAY_UPSTREAM_URL = f"http://127.0.0.1:{free.getsockname()[1]}"
    upstream = ChatUpstream()
    _, failed = ask(upstream=upstream)
    assert type(failed) is UpstreamUnreachable
    assert str(failed) == "The model server cannot be reached."
    assert upstream.attempts == 2


@pytest.mark.parametrize("url", ["http://no-such-host.invalid", "http://[half", "ftp://host", "/"])
def test_a_url_that_leads_nowhere_is_unreachable(settings: Settings, url: str) -> None:
    settings.GATEWAY_UPSTREAM_URL = url
    assert type(ask()[1]) is UpstreamUnreachable


def test_without_a_url_the_error_names_the_setting(settings: Settings) -> None:
    settings.GATEWAY_UPSTREAM_URL = ""
    _, failed = ask()
    assert type(failed) is UpstreamUnreachable
    assert "GATEWAY_UPSTREAM_URL" in str(failed)


def test_what_is_no_http_is_a_broken_answer(server: ScriptedVLLM) -> None:
    server.script(garbage())
    upstream = ChatUpstream()
    _, failed = ask(upstream=upstream)
    assert type(failed) is UpstreamBroke
    assert upstream.attempts == 1, "what was sent must not be sent again"


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_cut_stream_delivers_what_came_and_fails(
    server: ScriptedVLLM, after: int, reset: bool
) -> None:
    server.script(text("Hel", "lo", cut_after=after, reset=reset))
    deltas, failed = ask()
    assert type(failed) is UpstreamBroke
    assert "Hel".startswith(text_of(deltas))  # a reset may overtake what was sent before it
    assert reset or text_of(deltas) == ("Hel" if after == 2 else "")
    assert not any(isinstance(delta, TurnEnd) for delta in deltas)


def test_a_whole_answer_that_is_cut_fails(server: ScriptedVLLM) -> None:
    server.script(text("Hello", cut_after=0))
    deltas, failed = ask(stream=False)
    assert deltas == []
    assert type(failed) is UpstreamBroke


@pytest.mark.parametrize("options", [{"no_finish": True}, {"no_finish": True, "no_done": True}])
def test_a_stream_without_an_end_delivers_what_came_and_fails(
    server: ScriptedVLLM, options: Any
) -> None:
    server.script(text("Hello", **options))
    deltas, failed = ask()
    assert deltas == [TextDelta("Hello")]
    assert type(failed) is UpstreamBroke


@pytest.mark.parametrize("one_write", [True, False])
def test_an_error_in_mid_stream_comes_after_what_was_said(
    server: ScriptedVLLM, one_write: bool
) -> None:
    server.script(text("Hel", "lo", error_frame=error(500, "Out of memory."), one_write=one_write))
    deltas, failed = ask()
    assert text_of(deltas) == "Hello"
    assert isinstance(failed, UpstreamRefused)
    assert (failed.status, str(failed)) == (500, "Out of memory.")


@pytest.mark.parametrize("junk", [b"data: {broken\n\n", b"data: {}\n\n", b"data: \xff\n\n"])
@pytest.mark.parametrize("one_write", [True, False])
def test_junk_in_mid_stream_comes_after_what_was_said(
    server: ScriptedVLLM, junk: bytes, one_write: bool
) -> None:
    server.script(text("Hello") + raw(junk, one_write=one_write) + text("!"))
    deltas, failed = ask()
    assert deltas == [TextDelta("Hello")]
    assert type(failed) is UpstreamBroke


@pytest.mark.parametrize("junk", [b"", b"Hello", b"{}", b"[]", b'{"choices": [{}]}'])
@pytest.mark.parametrize("stream", STREAMED)
def test_a_body_of_junk_is_a_broken_answer(server: ScriptedVLLM, junk: bytes, stream: bool) -> None:
    server.script(body(junk))
    deltas, failed = ask(stream=stream)
    assert deltas == []
    assert type(failed) is UpstreamBroke


def test_a_failed_turn_fails_again(server: ScriptedVLLM) -> None:
    server.script(text("Hello", no_finish=True))

    async def scenario() -> None:
        turn = await opened()
        _, failed = await read_all(turn)
        with pytest.raises(UpstreamBroke) as again:
            await turn.read()
        assert again.value is failed

    in_loop(scenario)


@pytest.mark.parametrize("stream", STREAMED)
def test_a_server_that_closes_without_an_answer_was_reached(
    server: ScriptedVLLM, *, stream: bool
) -> None:
    server.script(garbage(b""))
    _, failed = ask(stream=stream)
    assert type(failed) is UpstreamBroke
    assert len(server.requests) == 1
