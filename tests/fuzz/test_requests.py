"""Thousands of requests, most of them wrong: each is answered, or refused in the API's words."""

from __future__ import annotations

import httpx
from hypothesis import given

from tests.fuzz.bodies import BODIES, HOSTED, Json, encoded, spoiled, torn
from tests.fuzz.soundness import MANY, check
from tests.gateway import Gateway

HEADERS = {"content-type": "application/json"}


def post(gateway: Gateway, content: bytes, path: str = "/v1/responses") -> httpx.Response:
    return gateway.http.post(path, content=content, headers=HEADERS)


@MANY
@given(body=spoiled(BODIES))
def test_any_request_is_answered_or_refused(gateway: Gateway, body: Json) -> None:
    response = check(post(gateway, encoded(body)))
    if response is None or not response["store"]:
        return
    # What was accepted can be read and continued.
    path = f"/v1/responses/{response['id']}"
    assert gateway.http.get(path).json() == response
    items = gateway.http.get(f"{path}/input_items", params={"include[]": "x"})
    assert items.status_code == 400
    items = gateway.http.get(f"{path}/input_items", params={"limit": 100})
    assert items.status_code == 200, items.text
    continued = {"model": "tiny", "input": "And?", "previous_response_id": response["id"]}
    check(post(gateway, encoded(continued)))


@MANY
@given(body=spoiled(HOSTED, least=1))
def test_any_request_about_hosted_tools_is_answered_or_refused(
    gateway: Gateway, body: Json
) -> None:
    check(post(gateway, encoded(body)))


@MANY
@given(content=torn())
def test_any_bytes_are_answered_or_refused(gateway: Gateway, content: bytes) -> None:
    check(post(gateway, content))


@MANY
@given(body=spoiled(BODIES))
def test_any_request_is_counted_or_refused(gateway: Gateway, body: Json) -> None:
    answer = post(gateway, encoded(body), "/v1/responses/input_tokens")
    if answer.status_code != 200:
        check(answer)
    else:
        assert answer.json()["input_tokens"] > 0
