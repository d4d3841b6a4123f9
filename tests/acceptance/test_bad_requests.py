"""Requests that are wrong as HTTP or as JSON: always the envelope, whatever is wrong."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.acceptance.exchanges import create, refused
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, text

JSON = {"content-type": "application/json"}
PATHS = ["/v1/responses", "/v1/chat/completions", "/v1/completions", "/v1/embeddings"]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "PUT"])
@pytest.mark.parametrize(
    "path",
    [
        "/v1/",
        "/v1/nothing",
        "/v1/responses/",
        "/v1/responses/resp_1/nothing",
        "/v1/responses/resp_1/input_items/item_1",
        "/v1/<script>",
        "/v1/%00",
        "/v1/%ff",
    ],
)
def test_an_unknown_path(gateway: Gateway, method: str, path: str) -> None:
    answer = gateway.http.request(method, path)
    assert refused(answer, 404, code="unknown_url").startswith("Unknown URL: /v1/")


@pytest.mark.parametrize("path", ["/responses", "/models", "/chat/completions", "/files/file-1"])
def test_a_base_url_without_v1(gateway: Gateway, path: str) -> None:
    message = refused(gateway.http.post(path, json={}), 404, code="unknown_url")
    assert message == f"Unknown URL: {path}. The API is below /v1/: the base URL has to end in /v1."


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/responses", "GET, POST"),
        ("PATCH", "/v1/responses/resp_1", "DELETE, GET"),
        ("DELETE", "/v1/models", "GET"),
        ("GET", "/v1/chat/completions", "POST"),
        ("OPTIONS", "/v1/responses", "GET, POST"),
    ],
)
def test_a_wrong_method(gateway: Gateway, method: str, path: str, allowed: str) -> None:
    answer = gateway.http.request(method, path)
    refused(answer, 405, code="method_not_allowed")
    assert sorted(answer.headers["allow"].split(", ")) == allowed.split(", ")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"input": "Hi",}',
        b"{'input': 'Hi'}",
        b"\xff\xfe",
        b'{"input": "\xff"}',
        b'{"input": "\\ud800"}',
        b'{"input": "\\udc00\\ud800"}',
        b'{"\\ud800": "Hi"}',
        b'{"temperature": NaN}',
        b"[" * 5000,
        b'{"input": "Hi"} {}',
    ],
    ids=[
        "cut",
        "trailing comma",
        "single quotes",
        "UTF-16",
        "not UTF-8",
        "lone surrogate",
        "swapped surrogates",
        "surrogate in a key",
        "NaN",
        "nested deeply",
        "two values",
    ],
)
def test_a_body_that_is_no_json(gateway: Gateway, path: str, body: bytes) -> None:
    answer = gateway.http.post(path, content=body, headers=JSON)
    assert refused(answer, 400, code="invalid_json").startswith("The request body is not JSON: ")


DEEP: dict[str, dict[str, Any]] = {
    "the schema of a tool": {"tools": [{"type": "function", "name": "f", "parameters": "HERE"}]},
    "the schema of a text": {
        "text": {"format": {"type": "json_schema", "name": "f", "schema": "HERE"}}
    },
    "what nobody reads": {"tools": [{"type": "web_search", "more": "HERE"}]},
}


def nested(frame: dict[str, Any], levels: int) -> bytes:
    deep = b'{"a":' * levels + b"{}" + b"}" * levels
    body = orjson.dumps({"model": "m", "input": "x", **frame})
    return body.replace(b'"HERE"', deep)


@pytest.mark.parametrize("levels", [250, 400, 1000])
@pytest.mark.parametrize("case", DEEP)
def test_a_body_that_is_too_deep(gateway: Gateway, case: str, levels: int) -> None:
    answer = gateway.http.post("/v1/responses", content=nested(DEEP[case], levels), headers=JSON)
    message = refused(answer, 400, code="invalid_value")
    assert message == "The request body is nested more than 200 levels deep."


@pytest.mark.parametrize("case", DEEP)
def test_a_body_that_is_just_not_too_deep(gateway: Gateway, vllm: ScriptedVLLM, case: str) -> None:
    vllm.script(text("Hello."))
    answer = gateway.http.post("/v1/responses", content=nested(DEEP[case], 195), headers=JSON)
    assert answer.status_code == 200, answer.text
    again = gateway.http.get(f"/v1/responses/{answer.json()['id']}")
    assert again.json() == answer.json()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("body", [b"", b"[]", b'["input"]', b"null", b"5", b'"Hi"', b"true"])
def test_a_body_that_is_no_object(gateway: Gateway, path: str, body: bytes) -> None:
    answer = gateway.http.post(path, content=body, headers=JSON)
    code = "invalid_type" if body else "missing_required_parameter"
    assert refused(answer, 400, code=code) == "The request body is missing or no object."


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/jsonp"},
        {"content-type": ""},
    ],
    ids=lambda headers: headers.get("content-type", "none"),
)
def test_another_media_type(gateway: Gateway, path: str, headers: dict[str, str]) -> None:
    answer = gateway.http.post(path, content=b'{"input": "Hi"}', headers=headers)
    refused(answer, 415, code="unsupported_media_type")


@pytest.mark.parametrize(
    "media_type",
    ["application/json; charset=utf-8", "application/vnd.api+json", "Application/JSON"],
)
def test_media_types_that_are_json(gateway: Gateway, media_type: str) -> None:
    answer = gateway.http.post(
        "/v1/responses",
        content=b'{"model": "tiny", "input": "Hi"}',
        headers={"content-type": media_type},
    )
    assert answer.status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_a_body_that_is_too_large(
    impatient_gateway: Gateway, vllm: ScriptedVLLM, path: str
) -> None:
    body = {"model": "tiny", "input": "x" * 5000, "messages": []}
    message = refused(impatient_gateway.http.post(path, json=body), 413, code="request_too_large")
    assert message == "The request body is larger than 4096 bytes (GATEWAY_MAX_BODY_BYTES)."
    assert vllm.requests == []


def test_a_body_of_unknown_length_that_is_too_large(impatient_gateway: Gateway) -> None:
    pieces = iter([b'{"input": "', *[b"x" * 1000] * 6, b'"}'])
    answer = impatient_gateway.http.post("/v1/responses", content=pieces, headers=JSON)
    refused(answer, 413, code="request_too_large")


def test_a_body_just_small_enough(impatient_gateway: Gateway) -> None:
    body = b'{"input": "Hi"}'.ljust(4096)
    answer = impatient_gateway.http.post("/v1/responses", content=body, headers=JSON)
    assert answer.status_code == 200


def test_every_answer_has_a_request_id_of_its_own(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    response_id = create(gateway)["id"]
    ask = gateway.http.request
    answers = [
        ask("GET", f"/v1/responses/{response_id}"),
        ask("GET", "/v1/responses/none"),
        ask("GET", "/v1/nothing"),
        ask("PUT", "/v1/responses"),
        ask("POST", "/v1/responses", content=b"{", headers=JSON),
        ask("POST", "/v1/responses", content=b"x"),
        ask("GET", "/v1/models"),
        ask("GET", "/v1/openapi.json"),
        ask("GET", "/health"),
        ask("GET", "/ready"),
        ask("GET", "/v1/models", headers={"host": "example.org"}),
        ask("DELETE", f"/v1/responses/{response_id}"),
        *(
            ask("POST", path, json={"model": "tiny", "messages": [], "stream": stream})
            for path in PATHS
            for stream in (False, True)
        ),
    ]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == len(answers)
    assert all(request_id.startswith("req_") for request_id in ids)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/nothing"])
def test_every_answer_tells_its_time_and_version(gateway: Gateway, path: str) -> None:
    headers = gateway.http.get(path).headers
    assert headers["openai-processing-ms"].isdecimal()
    assert headers["openai-version"] == "2020-10-01"


def test_the_upstream_gets_the_request_id_and_none_of_the_clients_headers(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    theirs = {
        "authorization": "Bearer clients-own",
        "x-request-id": "clients-own",
        "cookie": "session=clients-own",
        "openai-organization": "clients-own",
        "x-stainless-lang": "python",
        "user-agent": "clients-own",
    }
    asked: dict[str, Any] = {"model": "tiny", "input": "Hi"}
    answer = gateway.http.post("/v1/responses", json=asked, headers=theirs)
    sent = vllm.requests[-1].headers
    assert sent["x-request-id"] == answer.headers["x-request-id"]
    assert "clients-own" not in str(sent)
    assert "authorization" not in sent
    assert "x-stainless-lang" not in sent


def test_the_upstreams_key_is_the_gateways_own(
    impatient_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    create(impatient_gateway)
    assert vllm.requests[-1].headers["authorization"] == "Bearer known-to-vllm"
