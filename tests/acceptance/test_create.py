"""POST /v1/responses without a stream: what comes of each kind of answer."""

from __future__ import annotations

import json
import time
from typing import Any

import openai
import pytest

from tests.acceptance.exchanges import create, refused
from tests.gateway import Gateway
from tests.scripted_vllm import Reply, ScriptedVLLM, Usage, raw, reasoning, text

Json = dict[str, Any]


def refusal(words: str) -> Reply:
    """vLLM's other way of answering, which few models have."""
    message = {"role": "assistant", "content": None, "refusal": words}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return raw(json.dumps({"object": "chat.completion", "choices": [choice]}).encode())


def test_text_is_one_message(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(text("Good morning."))
    response = client.responses.create(model="tiny", input="Greet me")
    assert response.output_text == "Good morning."
    assert response.status == "completed"
    (message,) = response.output
    assert message.type == "message"
    assert (message.role, message.status) == ("assistant", "completed")
    assert message.id.startswith("msg_")
    assert response.id.startswith("resp_")


def test_the_body_has_every_key_and_the_right_types(gateway: Gateway) -> None:
    before = int(time.time())
    response = create(gateway)  # which checks it against the tables
    assert isinstance(response["created_at"], int)
    assert before <= response["created_at"] <= response["completed_at"] <= time.time()
    assert response["error"] is response["incomplete_details"] is None
    assert response["metadata"] == {}


def test_the_upstream_gets_what_was_asked_and_no_more(
    client: openai.OpenAI, vllm: ScriptedVLLM
) -> None:
    client.responses.create(model="tiny", input="Greet me")
    assert vllm.requests[-1].body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Greet me"}],
        "stream": False,
    }


def test_sampling_and_limits_reach_the_upstream(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    client.responses.create(
        model="tiny",
        input="Greet me",
        instructions="Be short.",
        temperature=0.25,
        top_p=0.5,
        max_output_tokens=64,
        reasoning={"effort": "low"},
    )
    assert vllm.requests[-1].body == {
        "model": "tiny",
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "Greet me"},
        ],
        "stream": False,
        "temperature": 0.25,
        "top_p": 0.5,
        "max_completion_tokens": 64,
        "reasoning_effort": "low",
    }


def test_reasoning_is_an_item_before_the_message(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(reasoning("\nHm. ", "Yes.\n") + text("\n\n", "It is."))
    response = client.responses.create(model="tiny", input="Is it?")
    thought, message = response.output
    assert thought.type == "reasoning"
    assert thought.id.startswith("rs_")
    assert thought.summary == []
    assert thought.content is not None
    assert [(part.type, part.text) for part in thought.content] == [
        ("reasoning_text", "\nHm. Yes.\n")
    ]
    assert message.type == "message"
    assert response.output_text == "It is."


def test_a_refusal_is_a_part_of_its_own(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(refusal("I will not."))
    response = client.responses.create(model="tiny", input="Do it")
    (message,) = response.output
    assert message.type == "message"
    (part,) = message.content
    assert part.type == "refusal"
    assert part.refusal == "I will not."
    assert response.output_text == ""
    assert response.status == "completed"


def test_an_answer_of_nothing_is_an_empty_message(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(text())
    response = create(gateway)
    (message,) = response["output"]
    assert message["content"] == [
        {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
    ]
    assert response["status"] == "completed"


def test_an_answer_of_thoughts_alone_has_an_empty_message_too(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(reasoning("Hm."))
    response = create(gateway)
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]


def test_usage_has_both_details(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(text("Yes", usage=Usage(prompt=300, cached=256, completion=20, reasoning=9)))
    usage = client.responses.create(model="tiny", input="Is it?").usage
    assert usage is not None
    assert usage.to_dict() == {
        "input_tokens": 300,
        "input_tokens_details": {"cached_tokens": 256, "cache_write_tokens": 0},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 9},
        "total_tokens": 320,
    }


def test_the_token_limit_makes_it_incomplete(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(text("One two", finish_reason="length", finish_with_last=True))
    response = client.responses.create(model="tiny", input="Count", max_output_tokens=2)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output_text == "One two"
    assert response.output[0].type == "message"
    assert response.output[0].status == "incomplete"


def test_a_limit_within_the_reasoning_leaves_no_message(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(reasoning("Let me", finish_reason="length", finish_with_last=True))
    response = create(gateway, max_output_tokens=2)
    assert response["status"] == "incomplete"
    assert [(item["type"], item["status"]) for item in response["output"]] == [
        ("reasoning", "incomplete")
    ]


def test_a_content_filter_makes_it_incomplete(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(text("One", finish_reason="content_filter"))
    response = client.responses.create(model="tiny", input="Count")
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "content_filter"


def test_without_store_nothing_can_be_read_later(client: openai.OpenAI, gateway: Gateway) -> None:
    response = client.responses.create(model="tiny", input="A secret", store=False)
    assert response.output_text == "Hello!"
    assert response.to_dict()["store"] is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)
    refused(
        gateway.http.get(f"/v1/responses/{response.id}/input_items"),
        404,
        code=None,
        param="response_id",
    )
    assert (
        gateway.database.query("SELECT * FROM store_storeditem WHERE payload LIKE '%A secret%'")
        == []
    )


def test_texts_of_every_script_arrive_as_they_are(
    client: openai.OpenAI, vllm: ScriptedVLLM
) -> None:
    words = 'Zażółć "gęślą" \\ jaźń \u2028 日本語 👩\u200d🚀 \x00 \t\n'
    vllm.script(text(words))
    response = client.responses.create(model="tiny", input=words)
    assert vllm.requests[-1].body["messages"][0]["content"] == words
    assert response.output_text == words
    assert client.responses.retrieve(response.id).output_text == words
