"""What tests ask a gateway over plain HTTP, and what holds for every answer: bodies and events as
the tables say, frames byte for byte, errors in their envelope.
"""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import httpx

from tests.event_streams import check_stream
from tests.gateway import Gateway
from tests.scripted_vllm import Reply, ScriptedVLLM, pause
from tests.spec_tables import check_response

Json = dict[str, Any]

SCHEMA: Json = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER: Json = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather.",
    "parameters": SCHEMA,
    "strict": True,
}
"""A function, as strict as clients make it."""

FRAME = re.compile(rb"event: ([a-z_.]+)\ndata: (\{[^\r\n]*\})\n\n")
DONE = b"data: [DONE]\n\n"
KEEPALIVE = b": keep-alive\n\n"

LAST = b"LAST"
"""What a reply must end with for ``broken_off``."""

SIGNS_OF_LEAKS = ("Traceback", "File \\", "authorization", "0x", "\\n", ".py", "Bearer")
"""What must be in no error: traces, addresses, headers, messages of several lines."""

LEAKS_THAT_ARE_NONE = (
    "Send 'Authorization: Bearer <key>'; keys are made with `manage.py createapikey`."
)


def create(gateway: Gateway, **body: Any) -> Json:
    """A response, created without a stream."""
    answer = gateway.http.post("/v1/responses", json={"model": "tiny", "input": "Hi"} | body)
    assert answer.status_code == 200, answer.text
    response: Json = answer.json()
    check_response(response)
    return response


def stream(gateway: Gateway, **body: Any) -> list[Json]:
    """The events of a response, created with a stream."""
    answer = post_stream(gateway, **body)
    assert answer.status_code == 200, answer.text
    events = events_of(answer.content)
    check_stream(events)
    return events


def messages(vllm: ScriptedVLLM) -> list[Json]:
    """What the upstream saw last."""
    seen: list[Json] = vllm.requests[-1].body["messages"]
    return seen


def post_stream(gateway: Gateway, **body: Any) -> httpx.Response:
    """Whatever answers the request for a stream."""
    asked = {"model": "tiny", "input": "Hi", "stream": True} | body
    return gateway.http.post("/v1/responses", json=asked)


def broken_off(gateway: Gateway, vllm: ScriptedVLLM, reply: Reply, **body: Any) -> Json:
    """The response of a stream that the upstream ends without an end, after all of the reply was
    passed on."""
    seen = threading.Event()
    vllm.script((reply + pause(seen)).but(no_finish=True, no_usage=True, no_done=True))
    asked = {"model": "tiny", "input": "Hi", "stream": True} | body
    content = b""
    with gateway.http.stream("POST", "/v1/responses", json=asked) as answer:
        for piece in answer.iter_raw():
            content += piece
            if LAST in content:
                seen.set()
    events = events_of(content)
    check_stream(events)
    assert events[-1]["type"] == "response.failed"
    response: Json = events[-1]["response"]
    return response


def events_of(content: bytes) -> list[Json]:
    """The events of a whole stream, which consists of frames and keepalives and ends with DONE."""
    assert content.endswith(DONE)
    content = content.removesuffix(DONE).replace(KEEPALIVE, b"")
    events = []
    while content:
        frame = FRAME.match(content)
        assert frame, content[:200]
        name, data = frame.groups()
        event = json.loads(data)
        assert event["type"] == name.decode()
        events.append(event)
        content = content[frame.end() :]
    for event in events:
        if "response" in event:
            check_response(event["response"])
    return events


def types(events: list[Json]) -> list[str]:
    """The events' types without what they all begin with; `3 x output_text.delta` for several."""
    shown: list[tuple[int, str]] = []
    for event in events:
        kind = event["type"].removeprefix("response.")
        if shown and shown[-1][1] == kind and kind.endswith(".delta"):
            shown[-1] = (shown[-1][0] + 1, kind)
        else:
            shown.append((1, kind))
    return [f"{count} x {kind}" if count > 1 else kind for count, kind in shown]


def refused(
    answer: httpx.Response,
    status: int,
    *,
    code: str | None,
    param: str | None = None,
    kind: str = "invalid_request_error",
) -> str:
    """Check that the answer is this error; gives its message."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert re.fullmatch(r"req_[0-9a-f]{16,}", answer.headers["x-request-id"])
    error = answer.json()["error"]
    message = error.pop("message")
    assert answer.json().keys() == {"error"}
    assert error == {"type": kind, "param": param, "code": code}, message
    assert isinstance(message, str)
    assert message
    leaks_nothing(answer.text)
    return message


def leaks_nothing(text: str) -> None:
    """Raise AssertionError when an error tells what is behind the gateway."""
    text = text.replace(LEAKS_THAT_ARE_NONE, "")
    found = [sign for sign in SIGNS_OF_LEAKS if sign in text]
    assert not found, f"{found} in {text}"
