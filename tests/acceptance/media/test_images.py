"""Images reach the model server as data, where the client put them."""

from __future__ import annotations

from typing import Any

import openai

from tests.acceptance.media.parts import BLUE, RED, create, image, said, sent, shown, user
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, text, tool_call
from tests.web import data_url


def test_images_stand_between_texts_in_order(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    parts = [said("Before"), image(RED), said("between"), image(BLUE, detail="low"), said("after")]
    assert create(gateway, user(*parts)).status_code == 200
    assert sent(vllm) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Before"},
                shown(RED),
                {"type": "text", "text": "between"},
                shown(BLUE, "low"),
                {"type": "text", "text": "after"},
            ],
        }
    ]


def test_the_official_client_sends_images(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    content: list[Any] = [said("What is it?"), image(RED, detail="high")]
    made = client.responses.create(model="tiny", input=[{"role": "user", "content": content}])
    assert made.output_text == "Hello!"
    assert sent(vllm)[0]["content"][1] == shown(RED, "high")


def test_the_bytes_decide_what_kind_of_image_it_is(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    create(gateway, user(image(data_url(RED, "image/jpeg")), image(data_url(RED, ""))))
    assert sent(vllm)[0]["content"] == [shown(RED), shown(RED)]


def test_original_detail_is_said_in_words_that_all_servers_know(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    create(gateway, user(image(RED, detail="original")))
    assert sent(vllm)[0]["content"] == [shown(RED, "high")]


def test_images_of_tool_outputs_follow_in_a_message_of_the_user(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    tool = {"type": "function", "name": "look", "parameters": {"type": "object"}}
    call = {"type": "function_call", "name": "look", "arguments": "{}"}
    output = {"type": "function_call_output"}
    answer = create(
        gateway,
        user(said("Look around")),
        call | {"call_id": "call_1"},
        call | {"call_id": "call_2"},
        output | {"call_id": "call_2", "output": [image(BLUE)]},
        output | {"call_id": "call_1", "output": [said("A room"), image(RED), image(BLUE)]},
        tools=[tool],
    )
    assert answer.status_code == 200, answer.text
    assert sent(vllm)[2:] == [
        {"role": "tool", "tool_call_id": "call_1", "content": "A room"},
        {
            "role": "tool",
            "tool_call_id": "call_2",
            "content": "(1 image, shown in the next message)",
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "2 images from the output of look (call_1):"},
                shown(RED),
                shown(BLUE),
                {"type": "text", "text": "1 image from the output of look (call_2):"},
                shown(BLUE),
            ],
        },
    ]


def test_images_of_custom_tool_outputs_follow_too(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    answer = create(
        gateway,
        user(said("Look")),
        {"type": "custom_tool_call", "call_id": "call_1", "name": "see", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "call_1", "output": [image(RED)]},
        tools=[{"type": "custom", "name": "see"}],
    )
    assert answer.status_code == 200, answer.text
    assert sent(vllm)[-1]["content"][1:] == [shown(RED)]


def test_a_later_turn_shows_the_model_the_same(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(tool_call("look", "{}"), text("Seen"), text("Again"))
    tools = [{"type": "function", "name": "look", "parameters": {"type": "object"}}]
    first = create(stateful_gateway, user(said("Look"), image(RED)), tools=tools).json()
    call_id = first["output"][-1]["call_id"]
    output = {"type": "function_call_output", "call_id": call_id, "output": [image(BLUE)]}
    second = create(stateful_gateway, output, previous_response_id=first["id"], tools=tools)
    before = sent(vllm)
    assert before[-1]["content"][1:] == [shown(BLUE)]
    third = create(
        stateful_gateway,
        user(said("And?")),
        previous_response_id=second.json()["id"],
        tools=tools,
    )
    assert third.status_code == 200, third.text
    assert sent(vllm)[: len(before)] == before


def test_tokens_are_counted_with_images(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    body = {"model": "tiny", "input": [user(image(RED))]}
    answer = gateway.http.post("/v1/responses/input_tokens", json=body)
    assert answer.status_code == 200, answer.text
    assert vllm.requests[-1].body["messages"][0]["content"] == [shown(RED)]
