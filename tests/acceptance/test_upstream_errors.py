"""What clients hear of the upstream's errors: as a status while that can be told, later as
``response.failed`` with the same code, and never in the upstream's own words about its insides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest

from tests.acceptance.exchanges import (
    create,
    events_of,
    leaks_nothing,
    post_stream,
    refused,
    types,
)
from tests.event_streams import check_stream
from tests.gateway import Gateway
from tests.scripted_vllm import Reply, ScriptedVLLM, body, failure, garbage, recorded, text
from tests.scripted_vllm.replies import error

Json = dict[str, Any]

GENERIC = "The model server refused the request."
INSIDES = (
    "1 validation error for ChatCompletionRequest\n  Value error, bad part "
    "[type=value_error, input_value={'authorization': 'Bearer x'}, input_type=dict]\n"
    '  File "/opt/vllm/serve.py", line 7'
)


class Told(NamedTuple):
    """What a client hears."""

    status: int
    code: str
    message: str
    param: str | None = None
    kind: str = "invalid_request_error"
    headers: Mapping[str, str] = {}


LONG = (
    "This model's maximum context length is 2048 tokens. However, your prompt contains at least "
    "2049 input tokens. Please reduce the length of the input prompt."
)
BROKEN = "server_error"

CASES: dict[str, tuple[Reply, Told]] = {
    "a value": (
        failure(400, "top_p must be in (0, 1], got 0.0.", param="top_p"),
        Told(400, "invalid_value", "top_p must be in (0, 1], got 0.0.", "top_p"),
    ),
    "a value with another name": (
        failure(400, "max_completion_tokens is too large.", param="max_completion_tokens"),
        Told(400, "invalid_value", "max_completion_tokens is too large.", "max_output_tokens"),
    ),
    "no parameter": (
        failure(400, "This model takes no images."),
        Told(400, "invalid_prompt", "This model takes no images."),
    ),
    "validation": (failure(400, INSIDES), Told(400, "invalid_prompt", GENERIC)),
    "context overflow": (
        failure(400, LONG, param="input_tokens"),
        Told(400, "context_length_exceeded", LONG, "input"),
    ),
    "context overflow without a parameter": (
        failure(400, LONG),
        Told(400, "context_length_exceeded", LONG, "input"),
    ),
    "credentials": (
        body({"error": "Unauthorized"}, status=401),
        Told(
            403,
            "upstream_unauthorized",
            "The model server refused the gateway's credentials (GATEWAY_UPSTREAM_API_KEY).",
        ),
    ),
    "model": (
        failure(404, "The model `tiny` does not exist.", kind="NotFoundError", param="model"),
        Told(404, "model_not_found", "The model `tiny` does not exist.", "model"),
    ),
    "endpoint": (
        body({"detail": "Not Found"}, status=404),
        Told(404, "unknown_url", "The model server does not have this endpoint."),
    ),
    "redirect": (
        body(b"", status=302, headers={"location": "http://10.0.0.1:8000/login"}),
        Told(
            404,
            "upstream_redirected",
            "The model server redirects elsewhere; GATEWAY_UPSTREAM_URL has to name the place "
            "itself.",
        ),
    ),
    "no content": (
        body(b"", status=204),
        Told(502, BROKEN, "The model server sent no answer.", kind=BROKEN),
    ),
    "rate limit": (
        failure(429, "Slow down.", headers={"retry-after": "7"}),
        Told(
            429,
            "rate_limit_exceeded",
            "Slow down.",
            kind="requests",
            headers={"retry-after": "7"},
        ),
    ),
    "rate limit without a time": (
        failure(429, "Slow down."),
        Told(
            429,
            "rate_limit_exceeded",
            "Slow down.",
            kind="requests",
            headers={"retry-after": "1"},
        ),
    ),
    "queue full": (
        failure(503, "Queue full.", kind="Service Unavailable"),
        Told(
            503,
            "upstream_unavailable",
            "Queue full.",
            kind=BROKEN,
            headers={"retry-after": "1"},
        ),
    ),
    "busy for a while": (
        failure(503, "Loading.", headers={"retry-after": "30"}),
        Told(
            503,
            "upstream_unavailable",
            "Loading.",
            kind=BROKEN,
            headers={"retry-after": "30"},
        ),
    ),
    "crash": (
        failure(500, INSIDES, kind="InternalServerError"),
        Told(502, BROKEN, "The model server failed.", kind=BROKEN),
    ),
    "crash without JSON": (
        body(b"Internal Server Error", status=500, content_type="text/plain"),
        Told(502, BROKEN, "The model server failed.", kind=BROKEN),
    ),
    "a page of some proxy": (
        body(b"<html>Traceback</html>", status=502, content_type="text/html"),
        Told(502, BROKEN, "The model server failed.", kind=BROKEN),
    ),
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_in_time_it_is_the_status(
    gateway: Gateway, vllm: ScriptedVLLM, case: str, streamed: bool
) -> None:
    reply, told = CASES[case]
    vllm.script(reply)
    asked = {"model": "tiny", "input": "Hi", "stream": streamed}
    answer = gateway.http.post("/v1/responses", json=asked)
    message = refused(answer, told.status, code=told.code, param=told.param, kind=told.kind)
    assert message == told.message
    assert {name: answer.headers[name] for name in told.headers} == told.headers
    assert ("retry-after" in answer.headers) == bool(told.headers)


@pytest.mark.parametrize("case", CASES)
def test_later_it_is_a_failed_response_with_the_same_code(
    impatient_gateway: Gateway, vllm: ScriptedVLLM, case: str
) -> None:
    reply, told = CASES[case]
    vllm.script(reply)
    answer = post_stream(impatient_gateway)
    assert answer.status_code == 200
    events = events_of(answer.content)
    check_stream(events)
    assert types(events) == ["created", "in_progress", "error", "failed"]
    detail = {"code": told.code, "message": told.message}
    assert events[2]["error"] == detail | {"type": told.kind, "param": told.param}
    response = events[3]["response"]
    assert response["error"] == detail
    assert response["usage"] is None
    leaks_nothing(answer.text)
    stored = impatient_gateway.http.get(f"/v1/responses/{response['id']}")
    assert stored.json() == response


def test_without_a_stream_the_status_waits_as_long_as_it_takes(
    impatient_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(failure(404, "No such model.", param="model"))
    answer = impatient_gateway.http.post("/v1/responses", json={"input": "Hi"})
    refused(answer, 404, code="model_not_found", param="model")


@pytest.mark.parametrize(
    ("case", "status", "code", "param"),
    [
        ("chat/error_unknown_part", 400, "invalid_prompt", None),
        ("chat/error_context_prompt", 400, "context_length_exceeded", "input"),
        ("chat/error_model", 404, "model_not_found", "model"),
        ("chat/error_messages_empty", 400, "invalid_prompt", None),
        ("chat/error_context_max_tokens", 400, "invalid_value", "max_output_tokens"),
        ("chat/error_reasoning_effort", 400, "invalid_value", "reasoning.effort"),
        ("chat/error_tool_responses_form", 400, "invalid_value", "tools"),
        ("chat/error_tool_choice_responses_form", 400, "invalid_value", "tool_choice"),
        ("chat/error_no_messages", 400, "invalid_value", "input"),
        ("chat/error_not_json", 400, "invalid_prompt", None),
    ],
)
def test_what_a_real_server_said(
    gateway: Gateway,
    vllm: ScriptedVLLM,
    case: str,
    status: int,
    code: str,
    param: str | None,
) -> None:
    vllm.script(recorded(case))
    answer = gateway.http.post("/v1/responses", json={"model": "tiny", "input": "Hi"})
    refused(answer, status, code=code, param=param)


@pytest.mark.parametrize(
    "reply",
    [
        garbage(),
        body(b"<html>", content_type="text/html"),
        body({"choices": []}),
        body({"object": "list"}),
        body([]),
        body(b""),
    ],
    ids=["not HTTP", "no JSON", "no choice", "another object", "an array", "nothing"],
)
def test_an_answer_that_is_none(gateway: Gateway, vllm: ScriptedVLLM, reply: Reply) -> None:
    vllm.script(reply)
    answer = gateway.http.post("/v1/responses", json={"model": "tiny", "input": "Hi"})
    refused(answer, 502, code="server_error", kind="server_error")


@pytest.mark.parametrize(
    ("frame", "code", "message"),
    [
        (error(400, "Grammar error: bad schema."), "invalid_prompt", "Grammar error: bad schema."),
        (
            error(500, INSIDES, kind="InternalServerError"),
            "server_error",
            "The model server failed.",
        ),
        (error(400, INSIDES), "invalid_prompt", GENERIC),
    ],
    ids=["request", "crash", "validation"],
)
def test_an_error_within_the_stream(
    gateway: Gateway, vllm: ScriptedVLLM, frame: Json, code: str, message: str
) -> None:
    vllm.script(text("Half").but(error_frame=frame))
    answer = post_stream(gateway)
    events = events_of(answer.content)
    check_stream(events)
    assert types(events)[-2:] == ["error", "failed"]
    assert events[-1]["response"]["error"] == {"code": code, "message": message}
    assert events[-1]["response"]["output"][0]["status"] == "incomplete"
    leaks_nothing(answer.text)


def test_without_a_stream_a_late_error_is_a_status(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(text("Half").but(error_frame=error(400, "Grammar error: bad schema.")))
    asked = {"model": "tiny", "input": "Hi", "tools": [{"type": "function", "name": "stop"}]}
    answer = gateway.http.post("/v1/responses", json=asked)
    refused(answer, 400, code="invalid_prompt")


def test_the_gateway_goes_on_after_each_of_them(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(garbage())
    post_stream(gateway)
    assert create(gateway)["status"] == "completed"
