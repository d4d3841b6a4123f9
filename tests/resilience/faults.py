"""What may go wrong with an upstream once a stream has begun, and what the client hears of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import NamedTuple

from tests.scripted_vllm import (
    Reply,
    body,
    failure,
    garbage,
    pause,
    raw,
    reasoning,
    text,
    tool_call,
)
from tests.scripted_vllm.replies import error

HASTE = {"FIRST_BYTE_TIMEOUT": 0.6, "IDLE_TIMEOUT": 0.4, "RUN_TIMEOUT": 1.5}
"""Settings of a gateway that does not wait long for its upstream."""

SMALL = reasoning("Hm,", " well.") + text("Hel", "lo") + tool_call("roll", '{"dice": ', '"2d6"}')
CHUNKS = 1 + 2 + 2 + 3 + 3  # opening; reasoning, text, call; finish, usage, [DONE]

NEVER = threading.Event()


class Fault(NamedTuple):
    """``code`` is that of the error, if there is one; ``stage`` and ``upstream_status`` are what
    the row tells besides. ``repeatable`` says whether asking again may help."""

    reply: Reply
    status: str = "failed"
    code: str = ""
    stage: str = "stream"
    upstream_status: int | None = None
    repeatable: bool = True


def broken(reply: Reply) -> Fault:
    return Fault(reply, code="server_error")


def late(reply: Reply) -> Fault:
    return Fault(reply, code="upstream_timeout")


def refused(reply: Reply, code: str, status: int, *, repeatable: bool = False) -> Fault:
    """The upstream's status, after that of the stream was sent."""
    return Fault(reply, "failed", code, "upstream", status, repeatable)


def in_stream(status: int, code: str, *, repeatable: bool = False) -> Fault:
    """An error object between the chunks."""
    reply = text("A", error_frame=error(status, "The engine stumbled."))
    return Fault(reply, "failed", code, "stream", status, repeatable)


def whole(reply: Reply) -> Fault:
    """Nothing is wrong that a client would have to know."""
    return Fault(reply, "completed", stage="")


def _cuts() -> Iterator[tuple[str, Fault]]:
    for number in range(CHUNKS):
        yield f"cut after chunk {number}", broken(SMALL.but(cut_after=number))
    for number in (0, 4, CHUNKS - 1):
        yield f"reset after chunk {number}", broken(SMALL.but(cut_after=number, reset=True))


TWICE = tool_call("roll", '{"dice": "1d6"}', id="same") + tool_call("roll", "{}", id="same")
HALF = tool_call("roll", '{"dice": "2')

FAULTS: dict[str, Fault] = {
    "nothing wrong": whole(SMALL),
    **dict(_cuts()),
    # Wrong answers
    "garbage between chunks": broken(text("A") + raw(b"data: {not json\n\n")),
    "no HTTP": Fault(garbage(), code="server_error", stage="upstream"),
    "a page": broken(raw(b"<html>Bad Gateway</html>\n\n", bare=True)),
    "a page with its type": broken(body(b"<html>Welcome</html>", content_type="text/html")),
    "JSON instead of a stream": broken(body({"object": "list", "data": []})),
    "another object": broken(text("A") + raw(b'data: {"object": "list"}\n\n')),
    "no end": broken(text("A", no_finish=True)),
    "no end and no last frame": broken(text("A", no_finish=True, no_done=True)),
    "an end that is none": broken(text("A", finish_reason="abort")),
    "nothing": broken(text(bare=True)),
    # Less than usual
    "no usage": whole(text("A", no_usage=True)),
    "no last frame": whole(text("A", no_done=True)),
    "no usage and no last frame": whole(SMALL.but(no_usage=True, no_done=True)),
    # Calls
    "call ids that repeat": whole(TWICE),
    "half a call, cut by the limit": Fault(
        HALF.but(finish_reason="length"), "incomplete", stage=""
    ),
    "half a call, cut by the network": broken(HALF.but(cut_after=3)),
    # Errors between chunks
    "400 in the stream": in_stream(400, "invalid_prompt"),
    "429 in the stream": in_stream(429, "rate_limit_exceeded", repeatable=True),
    "500 in the stream": in_stream(500, "server_error", repeatable=True),
    "503 in the stream": in_stream(503, "upstream_unavailable", repeatable=True),
    # Errors whose status comes too late to become the client's
    "302": refused(body(b"", status=302), "upstream_redirected", 302),
    "400": refused(failure(400, "No."), "invalid_prompt", 400),
    "too long": refused(
        failure(400, "This model's maximum context length is 9 tokens.", param="input_tokens"),
        "context_length_exceeded",
        400,
    ),
    "401": refused(body({"error": "Unauthorized"}, status=401), "upstream_unauthorized", 401),
    "404": refused(failure(404, "No such model."), "model_not_found", 404),
    "429": refused(failure(429, "Busy."), "rate_limit_exceeded", 429, repeatable=True),
    "500": refused(failure(500, "It died."), "server_error", 500, repeatable=True),
    "503": refused(failure(503, "Loading."), "upstream_unavailable", 503, repeatable=True),
    # Silence
    "no headers": Fault(
        text("A", hang_before_headers=NEVER), code="upstream_timeout", stage="upstream"
    ),
    "no first token": late(text() + pause(NEVER)),
    "silence after text": late(text("A") + pause(NEVER)),
    "silence after reasoning": late(reasoning("A") + pause(NEVER)),
    "silence within a call": late(HALF + pause(NEVER)),
    "no end of tokens": late(text(*["A"] * 200, delay=0.05)),
}
