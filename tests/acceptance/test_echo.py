"""A response shows every field of its request, as it was understood."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.exchanges import create, stream
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM

Json = dict[str, Any]

LOOKUP: Json = {
    "type": "function",
    "name": "lookup",
    "description": "Looks it up.",
    "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
    "strict": False,
}
SCHEMA: Json = {
    "type": "json_schema",
    "name": "answer",
    "description": "What it is.",
    "schema": {"type": "object", "properties": {"n": {"type": "integer"}}},
    "strict": True,
}
ECHOED: Json = {
    "instructions": "Be short.",
    "max_output_tokens": 64,
    "metadata": {"tier": "gold", "": "empty key"},
    "parallel_tool_calls": False,
    "prompt_cache_key": "user-17",
    "prompt_cache_retention": "24h",
    "safety_identifier": "s-17",
    "store": False,
    "temperature": 0.25,
    "text": {"format": SCHEMA, "verbosity": "medium"},
    "tool_choice": {"type": "function", "name": "lookup"},
    "tools": [LOOKUP],
    "top_p": 0.5,
    "truncation": "disabled",
    "user": "u-17",
    "reasoning": {"effort": "low", "summary": None},
    "service_tier": "default",
    "top_logprobs": 0,
    "background": False,
    "max_tool_calls": None,
}
DEFAULTS: Json = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "prompt_cache_retention": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
    "background": False,
}


def test_every_field_is_echoed(gateway: Gateway) -> None:
    response = create(gateway, **ECHOED)
    assert {name: response[name] for name in ECHOED} == ECHOED
    assert response["model"] == "tiny"


def test_streams_echo_the_same_from_the_first_event_on(gateway: Gateway) -> None:
    events = stream(gateway, **ECHOED)
    for event in (events[0], events[1], events[-1]):
        assert {name: event["response"][name] for name in ECHOED} == ECHOED


@pytest.mark.parametrize("value", ["absent", None])
def test_defaults_are_shown_for_what_is_absent_or_null(gateway: Gateway, value: object) -> None:
    given = {} if value == "absent" else dict.fromkeys(DEFAULTS)
    response = create(gateway, **given)
    assert {name: response[name] for name in DEFAULTS} == DEFAULTS


def test_a_tool_without_its_optional_fields_is_echoed_with_nulls(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    response = create(gateway, tools=[{"type": "function", "name": "stop"}])
    assert response["tools"] == [
        {
            "type": "function",
            "name": "stop",
            "description": None,
            "parameters": None,
            "strict": None,
        }
    ]


def test_the_previous_response_is_echoed(gateway: Gateway) -> None:
    first = create(gateway)
    second = create(gateway, previous_response_id=first["id"])
    assert second["previous_response_id"] == first["id"]


def test_what_is_only_echoed_does_not_reach_the_upstream(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    create(
        gateway,
        client_metadata={"turn": "1"},
        include=["file_search_call.results"],
        metadata={"tier": "gold"},
        prompt_cache_key="user-17",
        prompt_cache_retention="24h",
        safety_identifier="s-17",
        service_tier="auto",
        text={"verbosity": "medium"},
        truncation="disabled",
        user="u-17",
    )
    assert vllm.requests[-1].body.keys() == {"model", "messages", "stream"}
