"""GET /v1/models: what the upstream serves, in the API's form."""

from __future__ import annotations

import time

import openai
import pytest

from tests.acceptance.exchanges import refused
from tests.acceptance.guarded import Guarded
from tests.gateway import Gateway
from tests.scripted_vllm import Reply, ScriptedVLLM, body, failure, garbage


def test_the_official_client_lists_them(guarded: Guarded) -> None:
    with guarded.gateway.client(api_key=guarded.ours) as client:
        assert [model.id for model in client.models.list()] == ["org/one", "org/two"]


def test_one_can_be_had_by_an_id_with_a_slash(guarded: Guarded) -> None:
    with guarded.gateway.client(api_key=guarded.ours) as client:
        model = client.models.retrieve("org/two")  # which sends org%2Ftwo
    assert (model.id, model.object, model.owned_by) == ("org/two", "model", "vllm")
    assert guarded.ask(guarded.ours, "GET", "/v1/models/org/two").json()["id"] == "org/two"


def test_the_list_has_the_apis_fields_and_no_path_of_the_upstreams_disk(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    listed = gateway.http.get("/v1/models").json()
    (model,) = listed["data"]
    created = model.pop("created")
    assert time.time() - 3600 < created <= time.time()
    assert listed["object"] == "list"
    assert model == {
        "id": "tiny",
        "object": "model",
        "owned_by": "vllm",
        "max_model_len": vllm.max_model_len,
    }


@pytest.mark.parametrize("name", ["nope", "org/nope", "tiny/", "ti", "TINY", "a b", "ż"])
def test_another_is_not_found(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve(name)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert f"The model '{name}' does not exist." in caught.value.message


@pytest.mark.parametrize(
    ("reply", "status", "code", "kind"),
    [
        (failure(503, "Loading."), 503, "upstream_unavailable", "server_error"),
        (failure(500, "Traceback (most"), 502, "server_error", "server_error"),
        (body({"error": "Unauthorized"}, status=401), 403, "upstream_unauthorized", None),
        (body({"data": [{"name": "tiny"}]}), 502, "server_error", "server_error"),
        (body({"detail": "x"}), 502, "server_error", "server_error"),
        (body(b"<html>"), 502, "server_error", "server_error"),
        (garbage(), 502, "server_error", "server_error"),
    ],
    ids=["busy", "crash", "credentials", "no ids", "no list", "no JSON", "no HTTP"],
)
def test_an_upstream_that_cannot_tell(
    gateway: Gateway,
    vllm: ScriptedVLLM,
    reply: Reply,
    status: int,
    code: str,
    kind: str | None,
) -> None:
    vllm.routes["/v1/models"] = reply
    for path in ("/v1/models", "/v1/models/tiny"):
        answer = gateway.http.get(path)
        refused(answer, status, code=code, kind=kind or "invalid_request_error")
