"""As long as no key was made, this very machine needs none, and nobody else gets in."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.acceptance.exchanges import refused
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM

HOW = "keys are made with `manage.py createapikey`."

ROUTES = [
    ("POST", "/v1/responses"),
    ("GET", "/v1/responses"),
    ("GET", "/v1/responses/resp_1"),
    ("DELETE", "/v1/responses/resp_1"),
    ("GET", "/v1/responses/resp_1/input_items"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/tiny"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/embeddings"),
]


def port(gateway: Gateway) -> int:
    return urlsplit(gateway.url).port or 0


@pytest.mark.parametrize(
    "authorization",
    [None, "Bearer any", "bearer any", "Bearer sk-proj-1", "Bearer gw_abcdefghijkl_x", "Bearer"],
)
def test_whatever_a_client_insists_on_sending_is_as_good(
    gateway: Gateway, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    assert gateway.http.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"])
@pytest.mark.parametrize("with_port", [False, True])
def test_names_of_this_machine(gateway: Gateway, name: str, with_port: bool) -> None:
    host = f"{name}:{port(gateway)}" if with_port else name
    assert gateway.http.get("/v1/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "localhost.example.org",
        "127.0.0.1.example.org",
        "127.0.0.2",
        "0.0.0.0",
        "10.0.0.1:80",
        "localhost:80@example.org",
        "",
    ],
)
def test_another_name_may_be_a_page_in_the_users_browser(gateway: Gateway, host: str) -> None:
    answer = gateway.http.get("/v1/models", headers={"host": host})
    assert refused(answer, 401, code="invalid_api_key").endswith(HOW)


@pytest.mark.parametrize(
    "header",
    ["Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-IP", "Via"],
)
def test_a_request_that_came_through_a_proxy_is_not_local(gateway: Gateway, header: str) -> None:
    answer = gateway.http.get("/v1/models", headers={header: "127.0.0.1"})
    refused(answer, 401, code="invalid_api_key")


@pytest.mark.parametrize(
    "origin", ["https://example.org", "null", "http://localhost:1", "http://127.0.0.1", ""]
)
def test_a_foreign_origin_is_another_server_s_page(gateway: Gateway, origin: str) -> None:
    answer = gateway.http.get("/v1/models", headers={"origin": origin})
    refused(answer, 401, code="invalid_api_key")


def test_the_own_origin_is_the_user(gateway: Gateway) -> None:
    assert gateway.http.get("/v1/models", headers={"origin": gateway.url}).status_code == 200


def test_no_answer_invites_other_origins(gateway: Gateway) -> None:
    for method in ("GET", "OPTIONS"):
        answer = gateway.http.request(method, "/v1/models", headers={"origin": gateway.url})
        assert not [name for name in answer.headers if name.startswith("access-control-")]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_is_closed_to_others(
    gateway: Gateway, vllm: ScriptedVLLM, method: str, path: str
) -> None:
    body = {"model": "tiny", "input": "Hi"} if method == "POST" else None
    answer = gateway.http.request(method, path, headers={"host": "example.org"}, json=body)
    assert refused(answer, 401, code="invalid_api_key").endswith(HOW)
    assert vllm.requests == []


def test_who_may_not_call_is_not_told_what_is_wrong(gateway: Gateway) -> None:
    answer = gateway.http.post(
        "/v1/responses", content=b"{", headers={"host": "example.org", "content-type": "x/y"}
    )
    refused(answer, 401, code="invalid_api_key")


def test_another_scheme_is_refused(gateway: Gateway) -> None:
    answer = gateway.http.get("/v1/models", headers={"authorization": "Basic dXNlcjpwYXNz"})
    refused(answer, 401, code="invalid_api_key")


@pytest.mark.parametrize("name", ["api_key", "key"])
def test_keys_in_the_url_are_refused(gateway: Gateway, name: str) -> None:
    answer = gateway.http.get("/v1/models", params={name: "x"})
    message = refused(answer, 400, code="key_in_url", param=name)
    assert message.endswith(HOW)


def test_probes_need_no_key(gateway: Gateway) -> None:
    for path in ("/health", "/ready"):
        answer = gateway.http.get(path, headers={"host": "example.org"})
        assert answer.status_code == 200
