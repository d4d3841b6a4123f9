"""Requests made from the API's own description, fitting and not: each is answered, or refused in the
API's words."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import given, settings
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok

from tests.fuzz.soundness import MANY, NO_HOST, REQUESTS, check_error
from tests.gateway import Gateway

OPERATIONS = (
    "POST /v1/responses",
    "POST /v1/responses/input_tokens",
    "GET /v1/responses",
    "GET /v1/responses/{response_id}",
    "DELETE /v1/responses/{response_id}",
    "GET /v1/responses/{response_id}/input_items",
    "POST /v1/responses/{response_id}/cancel",
    "POST /v1/files",
    "GET /v1/files",
    "GET /v1/files/{file_id}",
    "GET /v1/files/{file_id}/content",
    "DELETE /v1/files/{file_id}",
    "POST /v1/containers",
    "GET /v1/containers",
    "GET /v1/containers/{container_id}",
    "DELETE /v1/containers/{container_id}",
    "POST /v1/containers/{container_id}/files",
    "GET /v1/containers/{container_id}/files",
    "GET /v1/containers/{container_id}/files/{file_id}",
    "GET /v1/containers/{container_id}/files/{file_id}/content",
    "DELETE /v1/containers/{container_id}/files/{file_id}",
    "GET /v1/mcp/servers",
    "GET /v1/mcp/servers/{server_label}/tools",
    "GET /v1/models",
    "GET /v1/models/{model_id}",
    "POST /v1/chat/completions",
    "POST /v1/completions",
    "POST /v1/embeddings",
)

NOTHING_TO_BE_WRONG = ("GET /v1/models", "GET /v1/mcp/servers", "POST /v1/files")
"""They take no parameter that the description knows."""

SOME = settings(MANY, max_examples=max(REQUESTS // 10, 10))


@pytest.fixture(scope="module")
def operations(gateway: Gateway) -> dict[str, Any]:
    """The operations of the description by method and path."""
    description = gateway.http.get("/v1/openapi.json").json()
    found = {}
    for result in schemathesis.openapi.from_dict(description).get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        found[operation.label] = operation
    return found


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("label", OPERATIONS)
def test_what_the_description_allows_and_forbids_is_answered_or_refused(
    gateway: Gateway, operations: dict[str, Any], label: str, mode: GenerationMode
) -> None:
    operation = operations[label]
    if mode.is_negative and label in NOTHING_TO_BE_WRONG:
        return

    @SOME
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Case[Any]) -> None:
        answer = send(gateway, case)
        assert answer.status_code < 500 or NO_HOST in answer.text, answer.text
        if answer.status_code >= 400:
            check_error(answer)

    ask()


def test_every_operation_is_asked(operations: dict[str, Any]) -> None:
    assert operations.keys() == set(OPERATIONS)


def send(gateway: Gateway, case: Case[Any]) -> httpx.Response:
    """The request as it is made, but for cookies and keys, which have tests of their own."""
    made = case.as_transport_kwargs(base_url=gateway.url)
    made["headers"].pop("Authorization", None)
    body = {name: made[name] for name in ("data", "json") if made.get(name) is not None}
    if "json" in body:  # with escapes: everything that Python has can be sent
        made["headers"].setdefault("content-type", "application/json")
        body = {"content": json.dumps(body["json"]).encode()}
    elif "data" in body:
        body = {"content": body["data"]}
    return gateway.http.request(
        made["method"], made["url"], headers=made["headers"], params=made.get("params"), **body
    )
