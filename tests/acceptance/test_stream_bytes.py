"""A stream byte for byte: headers, frames, chunks, keepalives, and what goes out when."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx2
import openai
import pytest

from tests.acceptance.exchanges import (
    DONE,
    FRAME,
    KEEPALIVE,
    Json,
    create,
    events_of,
    post_stream,
    stream,
    types,
)
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, pause, reasoning, text, tool_call

ASKED = {"model": "tiny", "input": "Hi", "stream": True}
TOOLS = [{"type": "function", "name": "get_time"}]


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    """What a scripted pause waits for; set at the end of the test at the latest."""
    event = threading.Event()
    yield event
    event.set()


@contextmanager
def opened(gateway: Gateway, **body: object) -> Iterator[Iterator[bytes]]:
    """The pieces of a stream as they come."""
    with gateway.http.stream("POST", "/v1/responses", json=ASKED | body) as answer:
        assert answer.status_code == 200
        yield answer.iter_raw()


def until(pieces: Iterator[bytes], sign: bytes) -> bytes:
    """Read until this has come."""
    content = b""
    while sign not in content:
        content += next(pieces)
    return content


def http_chunks(gateway: Gateway) -> list[bytes]:
    """The chunks of the transfer encoding, read from the bare socket."""
    where = urlsplit(gateway.url)
    assert where.hostname is not None
    body = json.dumps(ASKED).encode()
    head = (
        f"POST /v1/responses HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((where.hostname, where.port or 80), timeout=30) as connection:
        connection.sendall(head.encode() + body)
        content = b"".join(iter(lambda: connection.recv(65536), b""))
    answer, _, rest = content.partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in answer.lower()
    chunks = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        chunks.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    assert chunks.pop() == b""
    return chunks


def test_headers_keep_proxies_from_buffering(gateway: Gateway) -> None:
    headers = post_stream(gateway).headers
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["x-accel-buffering"] == "no"
    assert headers["x-request-id"].startswith("req_")
    assert "content-length" not in headers
    assert "content-encoding" not in headers


def test_frames_are_an_event_line_a_data_line_and_a_blank_one(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(reasoning("Hm\r\n") + text("Good\n", "\u2028 \x85 \r") + tool_call("get_time"))
    content = post_stream(gateway, tools=TOOLS).content
    assert b"\r" not in content
    assert b"\nid:" not in content
    assert b"\nretry:" not in content
    assert content.endswith(b"\n\n" + DONE)
    assert content.count(DONE) == 1
    frames = content.removesuffix(DONE).split(b"\n\n")
    assert frames.pop() == b""
    assert all(FRAME.fullmatch(frame + b"\n\n") for frame in frames)


def test_no_frame_is_split_over_two_chunks(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(text(*(f"{'word ' * 3000}{number}" for number in range(30))))
    chunks = http_chunks(gateway)
    assert len(chunks) > 3
    for chunk in chunks:
        assert chunk.endswith(b"\n\n")
        assert chunk.startswith((b"event: ", b"data: [DONE]"))
    assert len(events_of(b"".join(chunks))) > 30


def test_deltas_of_one_read_leave_in_one_write(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(text(*"abcdefghijklmnop").but(one_write=True))
    assert len(http_chunks(gateway)) <= 5


def test_the_first_events_go_out_before_the_first_token(
    gateway: Gateway, vllm: ScriptedVLLM, go_on: threading.Event
) -> None:
    vllm.script(pause(go_on) + text("Good"))
    with opened(gateway) as pieces:
        begin = until(pieces, b"response.in_progress")
        assert not go_on.is_set()
        go_on.set()
        events = events_of(begin + b"".join(pieces))
    assert types(events)[:2] == ["created", "in_progress"]


def test_tokens_go_out_as_they_come(
    gateway: Gateway, vllm: ScriptedVLLM, go_on: threading.Event
) -> None:
    vllm.script(text("Good") + pause(go_on) + text(" morning"))
    with opened(gateway) as pieces:
        begin = until(pieces, b'"delta":"Good"')
        assert b"morning" not in begin
        go_on.set()
        assert b"morning" in b"".join(pieces)


def test_the_first_events_need_not_wait_for_the_upstreams_status(
    impatient_gateway: Gateway, vllm: ScriptedVLLM, go_on: threading.Event
) -> None:
    vllm.script(text("Good").but(hang_before_headers=go_on))
    with opened(impatient_gateway) as pieces:
        begin = until(pieces, b"response.in_progress")
        go_on.set()
        assert types(events_of(begin + b"".join(pieces)))[-1] == "completed"


def test_silence_is_filled_with_comments(
    impatient_gateway: Gateway, vllm: ScriptedVLLM, go_on: threading.Event
) -> None:
    vllm.script(text("Good") + pause(go_on) + text(" morning"))
    with opened(impatient_gateway) as pieces:
        content = until(pieces, b'"delta":"Good"')
        content += until(pieces, KEEPALIVE)
        content += until(pieces, KEEPALIVE)
        go_on.set()
        content += b"".join(pieces)
    assert content.count(KEEPALIVE) >= 2
    assert types(events_of(content))[-1] == "completed"
    assert read_by_the_official_client(content) == "Good morning"


def read_by_the_official_client(content: bytes) -> str:
    """The text of a stream, as the client's iteration gives it."""
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=content)
    with (
        httpx2.Client(transport=httpx2.MockTransport(lambda request: answer)) as http,
        openai.OpenAI(api_key="any", base_url="http://test/v1", http_client=http) as client,
    ):
        events = list(client.responses.create(model="tiny", input="Hi", stream=True))
    return "".join(e.delta for e in events if e.type == "response.output_text.delta")


def whole_response(gateway: Gateway, content: bytes) -> tuple[Json, bytes]:
    """The final response of a stream, and its very text."""
    frame = content.removesuffix(DONE).rstrip(b"\n").rpartition(b"\n\n")[2]
    match = FRAME.fullmatch(frame + b"\n\n")
    assert match
    data = match.group(2)
    inner = data.removeprefix(b'{"type":"%b","response":' % match.group(1))
    return json.loads(data), inner[: inner.rindex(b',"sequence_number":')]


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
def test_the_final_response_is_what_get_returns_byte_for_byte(
    stateful_gateway: Gateway, vllm: ScriptedVLLM, reason: str
) -> None:
    said = reasoning("Hm… \ud7ff") + text("\n\n", "Zażółć \u2028", " \x00", finish_reason=reason)
    vllm.script(said)
    event, told = whole_response(stateful_gateway, post_stream(stateful_gateway).content)
    stored = stateful_gateway.http.get(f"/v1/responses/{event['response']['id']}")
    assert stored.content == told


def test_without_a_stream_the_body_is_what_get_returns_byte_for_byte(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(reasoning("Hm…") + text("\n\n", "Zażółć") + tool_call("get_time", '{"a": 1}'))
    asked = {"model": "tiny", "input": "Hi", "tools": TOOLS, "metadata": {"ż": "\x00"}}
    told = stateful_gateway.http.post("/v1/responses", json=asked)
    stored = stateful_gateway.http.get(f"/v1/responses/{told.json()['id']}")
    assert stored.content == told.content


def test_a_stream_ends_with_what_a_request_without_one_gets(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    said = reasoning("Hm") + text("\n\n", "Yes") + tool_call("get_time", "{}")
    vllm.script(said, said)
    streamed = stream(gateway, tools=TOOLS)[-1]["response"]
    whole = create(gateway, tools=TOOLS)
    assert shape(streamed) == shape(whole)


def shape(response: Json) -> str:
    """A response without its ids and times, keys in their order."""
    for thing in (response, *response["output"]):
        thing["id"] = "-"
        if "call_id" in thing:
            thing["call_id"] = "-"
    return json.dumps(response | {"created_at": 0, "completed_at": 0})
