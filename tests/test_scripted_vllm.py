"""The scripted upstream sends what a real vLLM sends, and breaks where the script says so."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import openai
import pytest

from tests.scripted_vllm import (
    Reply,
    ScriptedVLLM,
    Usage,
    body,
    calls,
    error,
    failure,
    garbage,
    pause,
    raw,
    reasoning,
    recorded,
    text,
    tool_call,
)
from tests.scripted_vllm.frames import Completion
from tests.scripted_vllm.replies import RECORDINGS

HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "say hello"}]}
STREAM = {**HELLO, "stream": True}
CODE = ("{", '"', "code", '"', ":", ' "', "2", "+", "2", '"', "}")
THOUGHT = ("\n", "I", " ", "will", " ", "greet", " ", "the", " ", "user", ".", "\n")

LIKE_RECORDED = {
    "stream": text("Hello", "!"),
    "stream_usage": text("Hello", "!", usage=Usage(prompt=18)),
    "stream_usage_continuous": text("Hello", "!", usage=Usage(prompt=18)),
    "stream_reasoning": reasoning(*THOUGHT) + text("\n", "\n", "Hello", "!"),
    "stream_length": text(
        "la", " ", "la", " ", finish_reason="length", finish_with_last=True, usage=Usage(prompt=15)
    ),
    "stream_stop_string": text(stop_reason="la la la"),
    "stream_tool_auto": tool_call("code_interpreter", *CODE, usage=Usage(prompt=48, completion=36)),
    "stream_tool_required": tool_call(
        "code_interpreter", *CODE, usage=Usage(prompt=48, completion=36)
    ),
    "stream_json_schema_bad_schema": Reply(
        options={"error_frame": error(400, "Grammar error: Invalid type: nonsense")}
    ),
    "text": text("Hello!", usage=Usage(prompt=18, completion=3)),
    "text_reasoning": reasoning("".join(THOUGHT))
    + text("\n\nHello!", usage=Usage(prompt=12, completion=19, reasoning=12)),
    "length_in_reasoning": reasoning(
        "\n", "I", finish_reason="length", usage=Usage(prompt=9, completion=3)
    ),
    "tool_auto": tool_call(
        "code_interpreter", '{"code": "2+2"}', usage=Usage(prompt=48, completion=36)
    ),
    "tool_named": tool_call(
        "get_weather", '{"city": "Paris"}', usage=Usage(prompt=51, completion=34)
    ),
    "tool_parallel": calls(
        ("get_weather", {"city": "Paris"}),
        ("get_weather", {"city": "Rome"}),
        usage=Usage(prompt=63, completion=68),
    ),
}


@pytest.fixture
def vllm() -> Iterator[ScriptedVLLM]:
    with ScriptedVLLM() as server:
        yield server


@asynccontextmanager
async def asked(vllm: ScriptedVLLM, content: object = STREAM) -> AsyncIterator[Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{vllm.url}/v1/chat/completions", json=content) as response,
    ):
        yield response


def answer(vllm: ScriptedVLLM, content: object = STREAM) -> tuple[int, str, bytes]:
    async def ask() -> tuple[int, str, bytes]:
        async with asked(vllm, content) as response:
            return response.status, response.headers["content-type"], await response.read()

    return asyncio.run(ask())


def without_ids(data: bytes, like: bytes) -> bytes:
    """Ids and times of `data` replaced by those of the recording `like`."""
    for mark in (b'"id":"chatcmpl-tool-', b'"id":"chatcmpl-', b'"created":'):
        theirs = [part.split(b'"', 1)[0].split(b",", 1)[0] for part in like.split(mark)[1:]]
        ours = [part.split(b'"', 1)[0].split(b",", 1)[0] for part in data.split(mark)[1:]]
        for old, new in zip(ours, theirs, strict=True):
            data = data.replace(mark + old, mark + new)
    return data


@pytest.mark.parametrize("case", LIKE_RECORDED)
def test_a_scripted_reply_is_byte_for_byte_what_vllm_sent(case: str) -> None:
    request = json.loads((RECORDINGS / f"chat/{case}.request.json").read_text())["body"]
    completion = Completion(reply=LIKE_RECORDED[case], request=request)
    if request.get("stream"):
        sent = b"".join(frame for frame in completion.stream() if isinstance(frame, bytes))
        recording = (RECORDINGS / f"chat/{case}.response.sse").read_bytes()
    else:
        sent = completion.body()
        recording = (RECORDINGS / f"chat/{case}.response.json").read_bytes()
    assert without_ids(sent, recording) == recording


@pytest.mark.parametrize(
    ("case", "status", "kind"),
    [
        ("chat/stream_usage", 200, "text/event-stream; charset=utf-8"),
        ("chat/text", 200, "application/json"),
        ("chat/error_model_stream", 404, "application/json"),
        ("guarded/queue_full_stream", 503, "application/json"),
    ],
)
def test_recordings_are_replayed_as_they_are(
    vllm: ScriptedVLLM, case: str, status: int, kind: str
) -> None:
    vllm.script(recorded(case))
    (found,) = (RECORDINGS / "chat").parent.glob(f"{case}.response.*")
    assert answer(vllm) == (status, kind, found.read_bytes())


def test_unscripted_requests_get_a_small_answer_in_the_form_they_ask_for(
    vllm: ScriptedVLLM,
) -> None:
    client = openai.OpenAI(base_url=f"{vllm.url}/v1", api_key="k", max_retries=0)
    whole = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "a"}]
    )
    stream = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "a"}], stream=True
    )
    assert whole.choices[0].message.content == "Hello!"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "Hello!"
    assert [model.id for model in client.models.list()] == ["tiny"]
    client.close()


def test_replies_are_used_in_order_and_requests_are_kept(vllm: ScriptedVLLM) -> None:
    vllm.script(failure(503, "busy", kind="Service Unavailable"), body({"data": []}))
    assert answer(vllm, HELLO)[0] == 503
    assert answer(vllm, HELLO) == (200, "application/json", b'{"data":[]}')
    first, second = vllm.chats
    assert first.body == second.body == HELLO
    assert first.headers["content-type"] == "application/json"
    assert first.finished.wait(5)
    assert not first.aborted.is_set()
    assert vllm.connections == 2
    assert vllm.unused == 0


def test_a_reply_can_depend_on_the_request(vllm: ScriptedVLLM) -> None:
    vllm.default = lambda request: text(request.body["messages"][0]["content"])
    assert b'"content":"say hello"' in answer(vllm, HELLO)[2]


def test_standing_answers_take_no_reply_from_the_queue(vllm: ScriptedVLLM) -> None:
    vllm.routes["/v1/chat/completions"] = failure(404, "gone")
    vllm.script(text("later"))
    assert answer(vllm)[0] == 404
    assert vllm.unused == 1


def test_a_pause_holds_the_stream_until_the_test_goes_on(vllm: ScriptedVLLM) -> None:
    go_on = threading.Event()
    vllm.script(text("a") + pause(go_on) + text("b"))

    async def ask() -> tuple[bytes, bytes]:
        async with asked(vllm) as response:
            before = await response.content.readuntil(b'"a"')
            await response.content.readuntil(b"\n\n")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(response.content.readline(), 0.05)
            go_on.set()
            return before, await response.read()

    before, after = asyncio.run(ask())
    assert b'"a"' in before
    assert b'"b"' in after


def test_a_client_that_leaves_is_noticed(vllm: ScriptedVLLM) -> None:
    vllm.script(text("a") + pause(threading.Event()))

    async def leave() -> None:
        async with asked(vllm) as response:
            await response.content.readuntil(b'"a"')

    asyncio.run(leave())
    assert vllm.requests[0].aborted.wait(5)
    vllm.wait_until(lambda: vllm.open_connections == 0)


def test_a_client_that_leaves_before_the_headers_is_noticed(vllm: ScriptedVLLM) -> None:
    vllm.script(text("a", hang_before_headers=threading.Event()))

    async def leave() -> None:
        async def ask() -> None:
            async with asked(vllm):
                pass

        asking = asyncio.create_task(ask())
        await asyncio.to_thread(vllm.wait_for_requests, 1)
        asking.cancel()
        await asyncio.wait({asking})

    asyncio.run(leave())
    assert vllm.requests[0].aborted.wait(5)
    assert not vllm.requests[0].finished.is_set()


@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_stream_stops_after_the_given_chunks(vllm: ScriptedVLLM, reset: bool) -> None:
    vllm.script(text("a", "b", "c", cut_after=2, reset=reset))
    received = bytearray()

    async def ask() -> None:
        async with asked(vllm) as response:
            async for data in response.content.iter_any():
                received.extend(data)

    with pytest.raises(aiohttp.ClientError):
        asyncio.run(ask())
    assert reset or received.count(b"data: ") == 2
    assert b'"b"' not in received


def test_a_cut_body_is_shorter_than_announced(vllm: ScriptedVLLM) -> None:
    vllm.script(text("a", cut_after=0))
    with pytest.raises(aiohttp.ClientPayloadError):
        answer(vllm, HELLO)


def test_garbage_is_no_http(vllm: ScriptedVLLM) -> None:
    vllm.script(garbage())
    with pytest.raises(aiohttp.ClientError):
        answer(vllm)


def test_streams_can_end_without_what_vllm_promises(vllm: ScriptedVLLM) -> None:
    vllm.script(text("a", no_finish=True, no_done=True))
    _, _, sent = answer(vllm)
    assert sent.count(b"data: ") == 2
    assert b"[DONE]" not in sent
    assert b'"finish_reason":"' not in sent


def test_anything_can_stand_in_a_stream(vllm: ScriptedVLLM) -> None:
    vllm.script(text("a") + raw(b": comment\n\ndata: {broken\n\n", content_type="text/plain"))
    _, kind, sent = answer(vllm)
    assert kind == "text/plain"
    assert b": comment\n\ndata: {broken\n\n" in sent


def test_an_error_in_mid_stream_ends_it(vllm: ScriptedVLLM) -> None:
    vllm.script(text("a", error_frame=error(500, "engine died", kind="InternalServerError")))
    _, _, sent = answer(vllm)
    assert sent.endswith(
        b'data: {"error": {"message": "engine died", "type": "InternalServerError",'
        b' "param": null, "code": 500}}\n\ndata: [DONE]\n\n'
    )


@pytest.mark.parametrize("reply", [text("a", "é", one_write=True), text("a", "é", chunk_bytes=3)])
def test_chunks_can_be_cut_anywhere(vllm: ScriptedVLLM, reply: Reply) -> None:
    vllm.script(reply)
    _, _, sent = answer(vllm)
    assert '"content":"é"'.encode() in sent
    assert sent.endswith(b"data: [DONE]\n\n")


def test_one_connection_serves_many_requests(vllm: ScriptedVLLM) -> None:
    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            for path in ("/health", "/version", "/v1/models", "/nothing"):
                async with session.get(vllm.url + path) as response:
                    await response.read()

    asyncio.run(ask())
    assert [request.path for request in vllm.requests] == [
        "/health",
        "/version",
        "/v1/models",
        "/nothing",
    ]
    assert vllm.connections == 1
