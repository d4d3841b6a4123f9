"""API keys: once there is one, everybody needs one."""

from __future__ import annotations

import openai
import pytest

from tests.acceptance.exchanges import refused
from tests.acceptance.guarded import Guarded
from tests.acceptance.test_anonymous import HOW, ROUTES


def test_a_key_opens_the_door(guarded: Guarded) -> None:
    with guarded.gateway.client(api_key=guarded.ours) as client:
        response = client.responses.create(model="org/one", input="Hi")
        assert client.responses.retrieve(response.id).output_text == "Hello!"
    assert "authorization" not in guarded.vllm.requests[-1].headers


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "gateway.example.org"},
        {"x-forwarded-for": "10.0.0.1"},
        {"origin": "https://example.org"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_a_key_counts_wherever_it_comes_from(guarded: Guarded, headers: dict[str, str]) -> None:
    assert guarded.ask(guarded.ours, "GET", "/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_a_key_every_route_is_closed_to_this_machine_too(
    guarded: Guarded, method: str, path: str
) -> None:
    body = {"model": "org/one", "input": "Hi"} if method == "POST" else None
    answer = guarded.ask(None, method, path, json=body)
    message = refused(answer, 401, code="invalid_api_key")
    assert message.startswith("No API key provided.")
    assert message.endswith(HOW)
    assert guarded.vllm.requests == []


def bad_tokens(guarded: Guarded) -> list[str]:
    prefix, secret = guarded.ours[:16], guarded.ours[16:]
    other = guarded.theirs[16:]
    return [
        "any",
        "gw_",
        prefix,
        guarded.ours[:-1],
        f"{guarded.ours}x",
        f"{prefix}{'A' * len(secret)}",
        f"{prefix}{other}",
        f"gw_aaaaaaaaaaaa_{secret}",
        guarded.ours.upper(),
        "ż" * 20,
        guarded.expired,
        guarded.revoked,
    ]


@pytest.mark.parametrize("number", range(12))
def test_a_key_that_is_not_valid_is_refused(guarded: Guarded, number: int) -> None:
    token = bad_tokens(guarded)[number]
    answer = guarded.gateway.http.get(
        "/v1/models", headers={b"authorization": f"Bearer {token}".encode()}
    )
    message = refused(answer, 401, code="invalid_api_key")
    assert message.startswith("Incorrect API key provided.")
    assert message.endswith(HOW)
    assert token not in answer.text


def test_the_official_client_raises_its_class(guarded: Guarded) -> None:
    with (
        guarded.gateway.client(api_key="sk-wrong") as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.responses.create(model="org/one", input="Hi", stream=True)
    assert caught.value.code == "invalid_api_key"


@pytest.mark.parametrize("name", ["api_key", "key"])
def test_a_key_in_the_url_is_refused_even_beside_a_good_one(guarded: Guarded, name: str) -> None:
    answer = guarded.ask(guarded.ours, "GET", f"/v1/models?{name}={guarded.ours}")
    refused(answer, 400, code="key_in_url", param=name)
    assert guarded.ours not in answer.text


def test_a_key_in_the_url_alone_opens_nothing(guarded: Guarded) -> None:
    for name in ("api_key", "key", "token", "access_token", "authorization"):
        answer = guarded.ask(None, "GET", f"/v1/models?{name}={guarded.ours}")
        assert answer.status_code in (400, 401)


def test_a_session_of_the_admin_is_no_key(guarded: Guarded) -> None:
    cookie = {"cookie": f"sessionid={guarded.session}"}
    assert guarded.ask(None, "GET", "/admin/", headers=cookie).status_code == 200
    for method, path in ROUTES:
        body = {"model": "org/one", "input": "Hi"} if method == "POST" else None
        answer = guarded.ask(None, method, path, headers=cookie, json=body)
        refused(answer, 401, code="invalid_api_key")


def test_only_a_key_that_may_sets_priorities(guarded: Guarded) -> None:
    token = guarded.gateway.manage("createapikey", "urgent", "--may-prioritize")
    chat = {"model": "org/one", "messages": [{"role": "user", "content": "Hi"}], "priority": -5}
    asked = {"model": "org/one", "input": "Hi", "priority": -5}
    for path, body in {
        "/v1/responses": asked,
        "/v1/responses/input_tokens": asked,
        "/v1/chat/completions": chat,
    }.items():
        answer = guarded.ask(guarded.ours, "POST", path, json=body)
        refused(answer, 403, code="parameter_not_permitted", param="priority")
        assert not guarded.vllm.requests
        assert guarded.ask(token, "POST", path, json=body).status_code == 200
        if path != "/v1/responses/input_tokens":
            assert guarded.vllm.requests[-1].body["priority"] == -5
        guarded.vllm.reset()


def test_keys_come_and_go_by_command_and_at_once(guarded: Guarded) -> None:
    token = guarded.gateway.manage("createapikey", "short-lived", "--project", "theirs")
    assert guarded.ask(token, "GET", "/v1/models").status_code == 200
    guarded.gateway.manage("revokeapikey", token)
    refused(guarded.ask(token, "GET", "/v1/models"), 401, code="invalid_api_key")
