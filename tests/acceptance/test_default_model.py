"""Which model serves a request that names none."""

from __future__ import annotations

from tests.acceptance.exchanges import create, refused
from tests.acceptance.guarded import Guarded
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM


def test_the_only_one_that_the_upstream_serves(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    response = create(gateway, model=None)
    assert response["model"] == "tiny"
    assert vllm.requests[-1].body["model"] == "tiny"


def test_none_when_there_are_several(guarded: Guarded) -> None:
    answer = guarded.ask(guarded.ours, "POST", "/v1/responses", json={"input": "Hi"})
    message = refused(answer, 400, code="missing_required_parameter", param="model")
    assert "org/one, org/two" in message


def test_the_configured_one(impatient_gateway: Gateway, vllm: ScriptedVLLM) -> None:
    assert create(impatient_gateway, model=None)["model"] == "the-usual"
    assert vllm.requests[-1].body["model"] == "the-usual"
    assert create(impatient_gateway, model="another")["model"] == "another"
    assert vllm.requests[-1].body["model"] == "another"
