"""The rest of the create request: sampling extras, logprobs, truncation, sealed reasoning, counts."""

from __future__ import annotations

from typing import Any

from tests.acceptance.exchanges import create
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, failure, reasoning, recorded, text

Json = dict[str, Any]

TOO_LONG = "This model's maximum context length is 2048 tokens. However, you requested more."


def test_the_upstreams_own_sampling_fields_are_passed_on(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    extras: Json = {"top_k": 5, "min_p": 0.1, "seed": 7, "stop": ["END"], "cache_salt": "s"}
    create(gateway, **extras)
    assert extras.items() <= vllm.requests[-1].body.items()


def test_logprobs_come_with_the_text_when_they_are_included(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(recorded("chat/stream_logprobs_reasoning"))
    response = create(gateway, include=["message.output_text.logprobs"], top_logprobs=2)
    body = vllm.requests[-1].body
    assert (body["logprobs"], body["top_logprobs"], body["stream"]) == (True, 2, True)
    part = response["output"][-1]["content"][0]
    assert "".join(entry["token"] for entry in part["logprobs"]) == part["text"]


def test_a_prompt_that_is_too_long_loses_its_oldest_items(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    refusal = failure(400, TOO_LONG, param="input_tokens")
    vllm.script(refusal, text("Hello"))
    old = {"role": "user", "content": "word " * 500}
    response = create(
        gateway, input=[old, old, {"role": "user", "content": "Hi"}], truncation="auto"
    )
    assert response["truncation"] == "auto"
    sent = [r.body["messages"] for r in vllm.requests if r.path == "/v1/chat/completions"]
    assert len(sent[0]) == 3
    assert len(sent[1]) < 3
    assert sent[1][-1] == {"role": "user", "content": "Hi"}


def test_sealed_reasoning_comes_back_to_the_model(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(reasoning("Forty-two.") + text("It is 42."), text("Yes."))
    first = create(gateway, store=False, include=["reasoning.encrypted_content"])
    thought, said = first["output"]
    assert "Forty-two" not in thought["encrypted_content"]
    sealed = {**thought, "content": None}
    again = {"role": "user", "content": "Sure?"}
    create(gateway, store=False, input=[{"role": "user", "content": "Hi"}, sealed, said, again])
    assert vllm.requests[-1].body["messages"][1]["reasoning"] == "Forty-two."


def test_reasoning_that_others_sealed_is_no_reason_to_refuse(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    foreign = {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA-of-another-server"}
    create(gateway, input=[{"role": "user", "content": "Hi"}, foreign])
    assert "reasoning" not in str(vllm.requests[-1].body["messages"])


def test_the_tokens_of_a_prompt_are_counted_as_the_upstream_counts(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    answer = gateway.http.post("/v1/responses/input_tokens", json={"model": "tiny", "input": "Hi"})
    assert answer.json()["object"] == "response.input_tokens"
    assert answer.json()["input_tokens"] > 0
    assert vllm.requests[-1].path == "/tokenize"


def test_an_upstream_that_cannot_count_is_told(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.routes["/tokenize"] = failure(404, "Not Found")
    try:
        answer = gateway.http.post(
            "/v1/responses/input_tokens", json={"model": "tiny", "input": "Hi"}
        )
    finally:
        del vllm.routes["/tokenize"]
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "unsupported_by_upstream"


def test_settings_without_effect_are_accepted(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    response = create(
        gateway,
        reasoning={"effort": "low", "summary": "auto"},
        text={"verbosity": "low"},
        max_tool_calls=3,
        service_tier="priority",
    )
    assert response["reasoning"] == {"effort": "low", "summary": None}
    assert response["text"]["verbosity"] == "low"
    assert (response["max_tool_calls"], response["service_tier"]) == (3, "default")
