"""The routes that go to the upstream as they are."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.acceptance.exchanges import refused
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, body, failure, garbage, recorded, text
from tests.scripted_vllm.replies import RECORDINGS

Json = dict[str, Any]

CHAT = "/v1/chat/completions"
ASKED: Json = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}


def recording(case: str) -> bytes:
    (found,) = RECORDINGS.glob(f"{case}.response.*")
    return found.read_bytes()


@pytest.mark.parametrize("case", ["chat/text", "chat/tool_parallel", "chat/logprobs"])
def test_bodies_are_untouched(gateway: Gateway, vllm: ScriptedVLLM, case: str) -> None:
    vllm.script(recorded(case))
    answer = gateway.http.post(CHAT, json=ASKED)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.content == recording(case)


@pytest.mark.parametrize(
    "case",
    ["chat/stream_usage", "chat/stream_unicode", "chat/stream_json_schema_bad_schema"],
)
def test_streams_are_untouched(gateway: Gateway, vllm: ScriptedVLLM, case: str) -> None:
    vllm.script(recorded(case))
    answer = gateway.http.post(CHAT, json=ASKED | {"stream": True})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.content == recording(case)


def test_the_upstream_gets_every_field(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    asked = ASKED | {"top_k": 5, "min_p": 0.1, "guided": None, "logit_bias": {"17": -100}, "n": 2}
    answer = gateway.http.post(CHAT, json=asked)
    sent = vllm.requests[-1]
    assert (sent.path, sent.body) == (CHAT, asked)
    assert sent.headers["x-request-id"] == answer.headers["x-request-id"]


def test_the_official_client_works(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(text("Good"), text("Good", " morning"))
    whole = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "Hi"}]
    )
    stream = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "Hi"}], stream=True
    )
    assert whole.choices[0].message.content == "Good"
    assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == "Good morning"


def test_completions_and_embeddings_go_the_same_way(
    client: openai.OpenAI, vllm: ScriptedVLLM
) -> None:
    vector = {"object": "embedding", "index": 0, "embedding": [0.5, -0.5]}
    vllm.script(
        body({"id": "c", "object": "text_completion", "choices": [{"index": 0, "text": "So"}]}),
        body({"object": "list", "model": "tiny", "data": [vector]}),
    )
    assert client.completions.create(model="tiny", prompt="And").choices[0].text == "So"
    embedded = client.embeddings.create(model="tiny", input="And", encoding_format="float")
    assert embedded.data[0].embedding == [0.5, -0.5]
    assert [r.path for r in vllm.requests] == ["/v1/completions", "/v1/embeddings"]
    assert vllm.requests[0].body == {"model": "tiny", "prompt": "And"}


def test_a_stream_goes_on_as_it_comes(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(text("a", "b", "c", delay=0.05))
    with gateway.http.stream("POST", CHAT, json=ASKED | {"stream": True}) as answer:
        pieces = list(answer.iter_raw())
    assert len(pieces) >= 3


@pytest.mark.parametrize(
    "name",
    [
        "kv_transfer_params",
        "ec_transfer_params",
        "chat_template",
        "vllm_xargs",
        "request_id",
        "session_id",
        "media_io_kwargs",
        "mm_processor_kwargs",
    ],
)
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/embeddings"])
def test_what_reaches_into_the_server_is_barred(
    gateway: Gateway, vllm: ScriptedVLLM, path: str, name: str
) -> None:
    answer = gateway.http.post(path, json=ASKED | {name: None})
    refused(answer, 400, code="unsupported_parameter", param=name)
    assert vllm.requests == []


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest"}},
        {"type": "image_url", "image_url": "https://10.0.0.1/a.png"},
        {"type": "input_image", "image_url": "https://[::1]/a.png"},
        {"type": "video_url", "video_url": {"url": "file:///etc/passwd"}},
        {"type": "audio_url", "audio_url": {"url": "//example.org/a.wav"}},
        {"image_url": "http://localhost/"},
        {"type": "text", "text": "Look", "image_url": {"url": " data:image/png;base64,x"}},
    ],
)
def test_media_that_the_upstream_would_fetch_are_refused(
    gateway: Gateway, vllm: ScriptedVLLM, part: Json
) -> None:
    messages = [{"role": "system", "content": "x"}, {"role": "user", "content": [part]}]
    answer = gateway.http.post(CHAT, json={"model": "tiny", "messages": messages})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith("messages[1].content[0].")
    assert vllm.requests == []


def test_media_within_the_request_go_on(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    asked = {"model": "tiny", "messages": [{"role": "user", "content": [part]}]}
    assert gateway.http.post(CHAT, json=asked).status_code == 200
    assert vllm.requests[-1].body == asked


@pytest.mark.parametrize(
    ("reply", "status", "code", "param", "kind"),
    [
        (failure(400, "Too hot.", param="temperature"), 400, "invalid_value", "temperature", None),
        (failure(400, "Too many.", param="max_tokens"), 400, "invalid_value", "max_tokens", None),
        (
            recorded("chat/error_context_prompt"),
            400,
            "context_length_exceeded",
            "messages",
            None,
        ),
        (recorded("chat/error_no_messages"), 400, "invalid_value", "messages", None),
        (recorded("chat/error_model"), 404, "model_not_found", "model", None),
        (body({"detail": "Not Found"}, status=404), 404, "unknown_url", None, None),
        (body({"error": "Unauthorized"}, status=401), 403, "upstream_unauthorized", None, None),
        (failure(429, "Slow down."), 429, "rate_limit_exceeded", None, "requests"),
        (failure(500, "Traceback"), 502, "server_error", None, "server_error"),
        (garbage(), 502, "server_error", None, "server_error"),
    ],
    ids=[
        *("a value", "another value", "context overflow", "validation", "model", "endpoint"),
        *("credentials", "rate limit", "crash", "no HTTP"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_errors_of_the_upstream_come_in_the_envelope(
    gateway: Gateway,
    vllm: ScriptedVLLM,
    reply: Any,
    status: int,
    code: str,
    param: str | None,
    kind: str | None,
    streamed: bool,
) -> None:
    vllm.script(reply)
    answer = gateway.http.post(CHAT, json=ASKED | {"stream": streamed})
    refused(answer, status, code=code, param=param, kind=kind or "invalid_request_error")


def test_nothing_of_it_is_stored(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    count = "SELECT count(*) FROM store_response"
    before = gateway.database.query(count)
    gateway.http.post(CHAT, json=ASKED)
    assert gateway.database.query(count) == before
