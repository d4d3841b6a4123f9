"""The official client's own ways of reading a stream."""

from __future__ import annotations

import asyncio

import openai
import pytest
from openai.types.responses import FunctionToolParam

from tests.gateway import Gateway
from tests.scripted_vllm import (
    Reply,
    Request,
    ScriptedVLLM,
    calls,
    reasoning,
    text,
    tool_call,
)

WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


def test_iteration_gives_typed_events(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(text("Good", " morning"))
    seen = ""
    for event in client.responses.create(model="tiny", input="Hi", stream=True):
        if event.type == "response.output_text.delta":
            seen += event.delta
        elif event.type == "response.completed":
            assert event.response.output_text == seen == "Good morning"
            break
    else:
        pytest.fail("no response.completed")


def test_the_helper_accumulates_text(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(reasoning("Hm") + text("\n\n", "Good", " morning"))
    with client.responses.stream(model="tiny", input="Hi") as stream:
        snapshots = [
            event.snapshot for event in stream if event.type == "response.output_text.delta"
        ]
        final = stream.get_final_response()
    assert snapshots == ["Good", "Good morning"]
    assert final.output_text == "Good morning"
    assert [item.type for item in final.output] == ["reasoning", "message"]
    assert client.responses.retrieve(final.id).output_text == "Good morning"


def test_the_helper_parses_the_arguments_of_parallel_calls(
    client: openai.OpenAI, vllm: ScriptedVLLM
) -> None:
    vllm.script(calls(("get_weather", {"city": "Paris"}), ("get_weather", {"city": "Rome"})))
    with client.responses.stream(model="tiny", input="Weather?", tools=[WEATHER]) as stream:
        final = stream.get_final_response()
    cities = [
        item.parsed_arguments["city"]
        for item in final.output
        if item.type == "function_call" and isinstance(item.parsed_arguments, dict)
    ]
    assert cities == ["Paris", "Rome"]


def test_the_helper_takes_text_a_call_and_text(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(text("Wait.") + tool_call("get_weather", '{"city": "Paris"}') + text("\n", "So."))
    with client.responses.stream(model="tiny", input="Weather?", tools=[WEATHER]) as stream:
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["message", "function_call", "message"]
    assert final.output_text == "Wait.So."


def test_the_helper_sees_an_empty_answer(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(text())
    with client.responses.stream(model="tiny", input="Hi") as stream:
        assert stream.get_final_response().output_text == ""


def test_the_helper_reads_an_incomplete_response_to_its_end(
    client: openai.OpenAI, vllm: ScriptedVLLM
) -> None:
    vllm.script(text("One", finish_reason="length", finish_with_last=True))
    with client.responses.stream(model="tiny", input="Hi", max_output_tokens=1) as stream:
        events = list(stream)
    end = events[-1]
    assert end.type == "response.incomplete"
    assert end.response.output_text == "One"


def test_stream_options_may_turn_padding_off(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    events = list(
        client.responses.create(
            model="tiny", input="Hi", stream=True, stream_options={"include_obfuscation": False}
        )
    )
    assert events[-1].type == "response.completed"
    assert all("obfuscation" not in event.to_dict() for event in events)
    assert vllm.requests[-1].body["stream_options"] == {"include_usage": True}


def test_a_stream_that_is_not_stored_has_the_same_events(
    client: openai.OpenAI, vllm: ScriptedVLLM
) -> None:
    with client.responses.stream(model="tiny", input="Hi", store=False) as stream:
        final = stream.get_final_response()
    assert final.output_text == "Hello!"
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(final.id)


def test_streams_at_the_same_time_keep_apart(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    def echo(request: Request) -> Reply:
        words = request.body["messages"][0]["content"]
        return reasoning("Hm", words) + text(*words, delay=0.005)

    async def ask(client: openai.AsyncOpenAI, words: str) -> str:
        async with client.responses.stream(model="tiny", input=words) as stream:
            return (await stream.get_final_response()).output_text

    async def ask_all(questions: list[str]) -> list[str]:
        url = f"{gateway.url}/v1"
        async with openai.AsyncOpenAI(api_key="any", base_url=url, max_retries=0) as client:
            return await asyncio.gather(*(ask(client, words) for words in questions))

    vllm.default = echo
    questions = [f"question {number}" for number in range(30)]
    assert asyncio.run(ask_all(questions)) == questions
