"""The body that the upstream gets: only what it knows, only what was asked for."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from apps.api.protocol.context import Context
from apps.api.protocol.input_items import ItemReference, to_items
from apps.api.protocol.offers import Offers
from apps.api.protocol.requests import CreateResponse
from apps.api.upstream.call_ids import CallIds, CallIdStyle
from apps.api.upstream.payload import to_chat_payload
from tests.api.protocol.runs import counting_ids

Json = dict[str, Any]

HI: Json = {"role": "user", "content": "Hi"}
ADD: Json = {"type": "function", "name": "add"}
SCHEMA: Json = {"type": "object", "properties": {"a": {"type": "integer", "default": None}}}


def payload_of(*, stream: bool = True, **body: Any) -> Json:
    """The payload of a request to the gateway."""
    request = CreateResponse.model_validate({"input": "Hi", **body})
    items = [i for i in to_items(request.input, counting_ids()) if not isinstance(i, ItemReference)]
    context = Context(
        model="tiny",
        items=items,
        instructions=request.instructions,
        offers=Offers(request.declared, request.tool_choice),
        parallel_tool_calls=request.parallel_tool_calls is not False,
        temperature=request.temperature,
        top_p=request.top_p,
        max_output_tokens=request.max_output_tokens,
        text_format=request.text.format if request.text else None,
        reasoning_effort=request.reasoning.effort if request.reasoning else None,
        stream=stream,
    )
    payload = to_chat_payload(context, call_ids=CallIds(CallIdStyle.PLAIN))
    assert orjson.loads(orjson.dumps(payload)) == payload
    return payload


def test_what_was_not_asked_for_is_not_sent() -> None:
    assert payload_of() == {
        "model": "tiny",
        "messages": [HI],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_without_a_stream_there_are_no_stream_options() -> None:
    assert payload_of(stream=False) == {"model": "tiny", "messages": [HI], "stream": False}


def test_everything_that_was_asked_for_is_sent_in_the_words_of_chat_completions() -> None:
    assert payload_of(
        instructions="Be terse.",
        tools=[ADD | {"description": "Adds.", "parameters": SCHEMA, "strict": True}],
        parallel_tool_calls=False,
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=16,
        text={"format": {"type": "json_object"}},
        reasoning={"effort": "low"},
        # What follows changes nothing upstream.
        user="u",
        metadata={"a": "b"},
        safety_identifier="s",
        prompt_cache_key="k",
        service_tier="default",
        store=False,
        truncation="disabled",
    ) == {
        "model": "tiny",
        "messages": [{"role": "system", "content": "Be terse."}, HI],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0.5,
        "top_p": 0.9,
        "max_completion_tokens": 16,
        "reasoning_effort": "low",
        "response_format": {"type": "json_object"},
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "add",
                    "parameters": SCHEMA,
                    "description": "Adds.",
                    "strict": True,
                },
            }
        ],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
    }


def test_zero_is_a_value() -> None:
    payload = payload_of(temperature=0, top_p=0)
    assert (payload["temperature"], payload["top_p"]) == (0, 0)


@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high", "xhigh", "max"])
def test_reasoning_effort_is_passed_on(effort: str) -> None:
    assert payload_of(reasoning={"effort": effort})["reasoning_effort"] == effort


# --- Tools ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("parameters", [None, {}])
def test_a_function_without_parameters_takes_an_empty_object(parameters: Json | None) -> None:
    (tool,) = payload_of(tools=[ADD | {"parameters": parameters}])["tools"]
    assert tool["function"] == {"name": "add", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize("tools", [None, []])
def test_no_tools_are_no_list_of_tools(tools: list[Json] | None) -> None:
    """The upstream refuses empty lists, and a choice or parallel calls without tools."""
    payload = payload_of(tools=tools, parallel_tool_calls=True, tool_choice="auto")
    assert payload.keys() & {"tools", "tool_choice", "parallel_tool_calls"} == set()


def test_tools_that_must_not_be_called_stay_away() -> None:
    """In the prompt, they are called all the same, as text."""
    payload = payload_of(tools=[ADD], tool_choice="none")
    assert payload.keys() & {"tools", "tool_choice", "parallel_tool_calls"} == set()


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", "auto"),
        ("required", "required"),
        (ADD, {"type": "function", "function": {"name": "add"}}),
    ],
)
def test_the_choice_of_a_tool(choice: object, sent: object) -> None:
    payload = payload_of(tools=[ADD], tool_choice=choice)
    assert payload["tool_choice"] == sent
    assert payload["parallel_tool_calls"] is True


# --- Formats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [None, {}, {"format": None}, {"format": {"type": "text"}}])
def test_plain_text_is_no_response_format(text: Json | None) -> None:
    assert "response_format" not in payload_of(text=text)


def test_a_schema_is_nested_and_not_touched() -> None:
    schema = SCHEMA | {"const": None, "enum": [None, 1]}
    wanted = {"type": "json_schema", "name": "answer", "schema": schema}
    assert payload_of(text={"format": wanted})["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema},
    }
    more = {"strict": True, "description": "What to answer."}
    assert payload_of(text={"format": wanted | more})["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, **more},
    }
