"""Calls and their outputs over several turns, and what the upstream sees of them each time."""

from __future__ import annotations

from typing import Any, Literal

import openai
import pytest
from openai.types.responses import FunctionToolParam, Response, ResponseFunctionToolCall

from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, calls, reasoning, text, tool_call

Json = dict[str, Any]

TOOLS: list[FunctionToolParam] = [
    {"type": "function", "name": "get_weather", "parameters": None, "strict": False},
    {"type": "function", "name": "get_time", "parameters": None, "strict": False},
]


def function_calls(response: Response) -> list[ResponseFunctionToolCall]:
    return [item for item in response.output if item.type == "function_call"]


def output_of(call: ResponseFunctionToolCall, output: Any) -> Any:
    return {"type": "function_call_output", "call_id": call.call_id, "output": output}


def called(call: ResponseFunctionToolCall) -> Json:
    """The call as the upstream sees it later on."""
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.call_id, "type": "function", "function": function}


def tool_message(call: ResponseFunctionToolCall, content: Any) -> Json:
    return {"role": "tool", "tool_call_id": call.call_id, "content": content}


def user(words: str) -> Json:
    return {"role": "user", "content": words}


class Talk:
    """One conversation, continued in either of the two ways."""

    def __init__(self, client: openai.OpenAI, way: Literal["stateful", "stateless"]) -> None:
        self.client, self.way = client, way
        self.items: list[Any] = []
        self.last: str | None = None

    def say(self, *items: Any) -> Response:
        if self.way == "stateful":
            response = self.client.responses.create(
                model="tiny", input=list(items), previous_response_id=self.last, tools=TOOLS
            )
        else:
            self.items += items
            response = self.client.responses.create(
                model="tiny", input=self.items, tools=TOOLS, store=False
            )
            self.items += response.output
        self.last = response.id
        return response


@pytest.fixture(params=["stateful", "stateless"])
def talk(request: pytest.FixtureRequest, client: openai.OpenAI) -> Talk:
    return Talk(client, request.param)


def test_one_call(talk: Talk, vllm: ScriptedVLLM) -> None:
    vllm.script(tool_call("get_weather", '{"city": "Paris"}'), text("It is sunny."))
    first = talk.say(user("Weather in Paris?"))
    (call,) = function_calls(first)
    second = talk.say(output_of(call, "sunny"))
    assert second.output_text == "It is sunny."
    assert vllm.requests[-1].body["messages"] == [
        user("Weather in Paris?"),
        {"role": "assistant", "tool_calls": [called(call)]},
        tool_message(call, "sunny"),
    ]


def test_parallel_calls_become_one_message_whatever_the_order_of_their_outputs(
    talk: Talk, vllm: ScriptedVLLM
) -> None:
    both = calls(("get_weather", {"city": "Paris"}), ("get_time", {"zone": "CET"}))
    vllm.script(text("Wait.", "\n") + both, text("Sunny, noon."))
    first = talk.say(user("Weather and time?"))
    weather, clock = function_calls(first)
    talk.say(output_of(clock, "noon"), output_of(weather, "sunny"))
    assert vllm.requests[-1].body["messages"] == [
        user("Weather and time?"),
        {
            "role": "assistant",
            "content": "Wait.\n",
            "tool_calls": [called(weather), called(clock)],
        },
        tool_message(weather, "sunny"),
        tool_message(clock, "noon"),
    ]


def test_reasoning_stays_with_its_calls(talk: Talk, vllm: ScriptedVLLM) -> None:
    vllm.script(
        reasoning("I look.") + text("\n\n") + tool_call("get_time", "{}"),
        reasoning("Noon.") + text("\n\n", "It is noon."),
        text("Bye."),
    )
    (call,) = function_calls(talk.say(user("Time?")))
    talk.say(output_of(call, "noon"))
    talk.say(user("Thanks"))
    assert vllm.requests[-1].body["messages"] == [
        user("Time?"),
        {"role": "assistant", "reasoning": "I look.", "tool_calls": [called(call)]},
        tool_message(call, "noon"),
        {"role": "assistant", "content": "It is noon.", "reasoning": "Noon."},
        user("Thanks"),
    ]


def test_calls_of_several_turns_keep_apart(talk: Talk, vllm: ScriptedVLLM) -> None:
    vllm.script(tool_call("get_time", "{}"), tool_call("get_weather", "{}"), text("Done."))
    (clock,) = function_calls(talk.say(user("Time, then weather")))
    (weather,) = function_calls(talk.say(output_of(clock, "noon")))
    talk.say(output_of(weather, "rain"))
    assert vllm.requests[-1].body["messages"] == [
        user("Time, then weather"),
        {"role": "assistant", "tool_calls": [called(clock)]},
        tool_message(clock, "noon"),
        {"role": "assistant", "tool_calls": [called(weather)]},
        tool_message(weather, "rain"),
    ]


@pytest.mark.parametrize(
    ("output", "content"),
    [
        ("sunny", "sunny"),
        ("", ""),
        ([{"type": "input_text", "text": "sunny"}], "sunny"),
        (
            [{"type": "input_text", "text": "sunny"}, {"type": "input_text", "text": "warm"}],
            [{"type": "text", "text": "sunny"}, {"type": "text", "text": "warm"}],
        ),
    ],
    ids=["string", "empty string", "one part", "two parts"],
)
def test_outputs_are_strings_or_parts(
    talk: Talk, vllm: ScriptedVLLM, output: object, content: object
) -> None:
    vllm.script(tool_call("get_weather", "{}"), text("So it is."))
    (call,) = function_calls(talk.say(user("Weather?")))
    talk.say(output_of(call, output))
    assert vllm.requests[-1].body["messages"][-1] == tool_message(call, content)


def test_arguments_that_are_no_object_are_wrapped_for_the_upstream(
    talk: Talk, vllm: ScriptedVLLM
) -> None:
    vllm.script(tool_call("get_weather", "Paris, please"), text("What?"))
    (call,) = function_calls(talk.say(user("Weather?")))
    assert call.arguments == "Paris, please"
    talk.say(output_of(call, "error: no JSON"))
    (sent,) = vllm.requests[-1].body["messages"][1]["tool_calls"]
    assert sent["function"]["arguments"] == '{"input":"Paris, please"}'


def test_the_tools_are_those_of_each_request(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(tool_call("get_weather", "{}"), text("Sunny."))
    first = client.responses.create(model="tiny", input="Weather?", tools=TOOLS)
    (call,) = function_calls(first)
    client.responses.create(
        model="tiny", input=[output_of(call, "sunny")], previous_response_id=first.id
    )
    assert vllm.requests[-1].body.keys() == {"model", "messages", "stream"}


def test_the_loop_works_on_streams(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(calls(("get_weather", {}), ("get_time", {})), text("Sunny", ", noon."))
    with client.responses.stream(model="tiny", input="Weather, time?", tools=TOOLS) as stream:
        first = stream.get_final_response()
    outputs = [output_of(item, "x") for item in first.output if item.type == "function_call"]
    with client.responses.stream(
        model="tiny", input=outputs, previous_response_id=first.id, tools=TOOLS
    ) as stream:
        assert stream.get_final_response().output_text == "Sunny, noon."
    assert [m["role"] for m in vllm.requests[-1].body["messages"]] == [
        "user",
        "assistant",
        "tool",
        "tool",
    ]


def test_ids_of_the_upstream_may_repeat_over_turns(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    same = tool_call("get_time", "{}", id="functions.get_time:0")
    vllm.script(same, same, text("Done."))
    with stateful_gateway.client() as client:
        talk = Talk(client, "stateful")
        (one,) = function_calls(talk.say(user("Twice")))
        (two,) = function_calls(talk.say(output_of(one, "1")))
        assert one.call_id != two.call_id
        talk.say(output_of(two, "2"))
    roles = [message["role"] for message in vllm.requests[-1].body["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "tool"]
