"""Bodies that are refused: by name, with a code, in words for clients."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.api.protocol.params import first_problem
from apps.api.protocol.requests import (
    CreateResponse,
    check_include,
)
from tests.api.protocol.bodies import problem_of
from tests.spec_tables import ITEMS

ADD: dict[str, Any] = {"type": "function", "name": "add"}
CODE: dict[str, Any] = {"type": "code_interpreter"}
SCHEMA: dict[str, Any] = {"type": "json_schema", "name": "answer", "schema": {"type": "object"}}

# --- Refusals -------------------------------------------------------------------------------------

UNSUPPORTED: list[tuple[dict[str, Any], str, str]] = [
    ({"background": True}, "background", "unsupported_parameter"),
    (
        {"background_options": {"completion_window": "2h"}},
        "background_options",
        "unsupported_parameter",
    ),
    ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
    ({"conversation": {"id": "conv_1"}}, "conversation", "unsupported_parameter"),
    (
        {"context_management": [{"type": "compaction"}]},
        "context_management",
        "unsupported_parameter",
    ),
    ({"include": ["everything"]}, "include", "unsupported_value"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt", "unsupported_parameter"),
    ({"prompt_cache_options": {"prewarm": True}}, "prompt_cache_options", "unsupported_parameter"),
    ({"moderation": {"mode": "on"}}, "moderation", "unsupported_parameter"),
    ({"access_programs": {"cyber": "standard"}}, "access_programs", "unsupported_parameter"),
    ({"image": {"quality": "low"}}, "image", "unsupported_parameter"),
    ({"reasoning": {"mode": "pro"}}, "reasoning.mode", "unsupported_value"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format.type", "unsupported_value"),
    ({"tools": [{"type": "telepathy"}]}, "tools[0].type", "unsupported_value"),
    ({"tools": [{"type": "tool_search"}]}, "tools[0].execution", "missing_required_parameter"),
    (
        {"tools": [{"type": "shell", "environment": {"type": "container_auto"}}]},
        "tools[0].environment",
        "unsupported_value",
    ),
    (
        {"tools": [ADD | {"allowed_callers": ["programmatic"]}]},
        "tools[0].allowed_callers",
        "unsupported_value",
    ),
    (
        {"tools": [ADD], "tool_choice": {"type": "web_search"}},
        "tool_choice.type",
        "unsupported_value",
    ),
    ({"tools": [ADD, {"type": "telepathy"}]}, "tools[1].type", "unsupported_value"),
    ({"tools": [{"type": "mcp"}]}, "tools[0].server_label", "missing_required_parameter"),
    ({"tools": [ADD | {"async": True}]}, "tools[0].async", "unsupported_parameter"),
]

UNKNOWN: list[tuple[dict[str, Any], str]] = [
    ({"top_q": 5}, "top_q"),
    ({"kv_transfer_params": {}}, "kv_transfer_params"),
    ({"chat_template": "x"}, "chat_template"),
    ({"messages": []}, "messages"),
    ({"stream": True, "stream_options": {"include_usage": True}}, "stream_options.include_usage"),
    ({"reasoning": {"budget": 5}}, "reasoning.budget"),
    ({"text": {"style": "terse"}}, "text.style"),
    ({"text": {"format": {"type": "text", "schema": {}}}}, "text.format.schema"),
    ({"tools": [ADD | {"function": {}}]}, "tools[0].function"),
    ({"tools": [ADD], "tool_choice": ADD | {"mode": "auto"}}, "tool_choice.mode"),
]

WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"model": ""}, "model", "invalid_value"),
    ({"model": "m" * 513}, "model", "string_above_max_length"),
    ({"instructions": ["Be terse."]}, "instructions", "invalid_type"),
    ({"store": "yes"}, "store", "invalid_type"),
    ({"stream": 1}, "stream", "invalid_type"),
    ({"temperature": "warm"}, "temperature", "invalid_type"),
    ({"temperature": True}, "temperature", "invalid_type"),
    ({"temperature": 2.1}, "temperature", "invalid_value"),
    ({"top_p": -0.1}, "top_p", "invalid_value"),
    ({"max_output_tokens": 0}, "max_output_tokens", "invalid_value"),
    ({"max_output_tokens": 1.5}, "max_output_tokens", "invalid_type"),
    ({"max_output_tokens": "16"}, "max_output_tokens", "invalid_type"),
    ({"metadata": []}, "metadata", "invalid_type"),
    ({"metadata": {"a": 1}}, "metadata.a", "invalid_type"),
    ({"metadata": {str(n): "" for n in range(17)}}, "metadata", "invalid_value"),
    ({"metadata": {"k" * 65: ""}}, f"metadata.{'k' * 65}", "string_above_max_length"),
    ({"metadata": {"k": "v" * 513}}, "metadata.k", "string_above_max_length"),
    ({"include": "logprobs"}, "include", "invalid_type"),
    ({"tools": [{"type": {}}]}, "tools[0].type", "invalid_type"),
    ({"tools": [{"type": ["function"]}]}, "tools[0].type", "invalid_type"),
    ({"reasoning": "high"}, "reasoning", "invalid_type"),
    ({"reasoning": {"effort": "extreme"}}, "reasoning.effort", "invalid_value"),
    ({"prompt_cache_retention": "1h"}, "prompt_cache_retention", "invalid_value"),
    ({"text": "json"}, "text", "invalid_type"),
    ({"text": {"verbosity": "huge"}}, "text.verbosity", "invalid_value"),
    ({"text": {"format": "json_object"}}, "text.format", "invalid_type"),
    ({"text": {"format": {}}}, "text.format.type", "missing_required_parameter"),
    ({"text": {"format": {"type": None}}}, "text.format.type", "invalid_type"),
    (
        {"text": {"format": {"type": "json_schema", "json_schema": {"name": "a"}}}},
        "text.format.name",
        "missing_required_parameter",
    ),
    ({"text": {"format": SCHEMA | {"name": "a b"}}}, "text.format.name", "invalid_value"),
    (
        {"text": {"format": SCHEMA | {"name": "a" * 65}}},
        "text.format.name",
        "string_above_max_length",
    ),
    ({"text": {"format": SCHEMA | {"schema": "{}"}}}, "text.format.schema", "invalid_type"),
    ({"text": {"format": SCHEMA | {"strict": "yes"}}}, "text.format.strict", "invalid_type"),
    ({"tools": {"type": "function"}}, "tools", "invalid_type"),
    ({"tools": ["add"]}, "tools[0]", "invalid_type"),
    ({"tools": [{}]}, "tools[0].type", "missing_required_parameter"),
    ({"tools": [{"type": None}]}, "tools[0].type", "invalid_type"),
    ({"tools": [{"type": "function"}]}, "tools[0].name", "missing_required_parameter"),
    (
        {"tools": [{"type": "function", "function": {"name": "add"}}]},
        "tools[0].name",
        "missing_required_parameter",
    ),
    ({"tools": [ADD | {"name": "add two"}]}, "tools[0].name", "invalid_value"),
    ({"tools": [ADD | {"name": "add\n"}]}, "tools[0].name", "invalid_value"),
    ({"tools": [ADD | {"name": ""}]}, "tools[0].name", "invalid_value"),
    ({"tools": [ADD | {"name": "a" * 129}]}, "tools[0].name", "string_above_max_length"),
    ({"tools": [ADD | {"parameters": []}]}, "tools[0].parameters", "invalid_type"),
    ({"tools": [ADD | {"strict": 1}]}, "tools[0].strict", "invalid_type"),
    ({"tools": [ADD, ADD]}, "tools", "invalid_value"),
    ({"tools": [ADD], "tool_choice": "always"}, "tool_choice", "invalid_value"),
    ({"tools": [ADD], "tool_choice": 5}, "tool_choice", "invalid_value"),
    ({"tools": [ADD], "tool_choice": {}}, "tool_choice.type", "missing_required_parameter"),
    (
        {"tools": [ADD], "tool_choice": {"type": "function"}},
        "tool_choice.name",
        "missing_required_parameter",
    ),
    ({"tools": [ADD], "tool_choice": ADD | {"name": 5}}, "tool_choice.name", "invalid_type"),
    ({"tools": [CODE | {"container": "cntr_\0"}]}, "tools[0].container", "invalid_value"),
    (
        {"tools": [CODE | {"container": {"type": "auto", "file_ids": ["\0"]}}]},
        "tools[0].container.file_ids[0]",
        "invalid_value",
    ),
    (
        {"input": [{"type": "code_interpreter_call", "code": "1", "container_id": "\0"}]},
        "input[0].container_id",
        "invalid_value",
    ),
]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [*UNSUPPORTED, *((body, param, "unknown_parameter") for body, param in UNKNOWN), *WRONG],
)
def test_a_body_is_refused_by_name(body: dict[str, Any], param: str, code: str) -> None:
    problem = problem_of({"input": "Hi", **body})
    assert problem is not None
    assert (problem.param, problem.code) == (param, code)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"top_q": 5}, "Unknown parameter: 'top_q'."),
        ({"text": {"format": {}}}, "Missing required parameter: 'text.format.type'."),
        ({"background": True}, "'background' is not supported."),
        (
            {"reasoning": {"mode": "pro"}},
            "The value 'pro' of 'reasoning.mode' is not supported.",
        ),
        ({"temperature": 3}, "Invalid value for 'temperature': it must be at most 2."),
        ({"store": "yes"}, "Invalid value for 'store': true or false was expected."),
        ({"input": 5}, "Invalid value for 'input': a string or an array was expected."),
        (
            {"tools": [ADD], "tool_choice": "always"},
            "Invalid value for 'tool_choice': 'auto', 'none' or 'required' was expected.",
        ),
        (
            {"tools": [ADD | {"name": "a b"}]},
            "Invalid value for 'tools[0].name': it must match ^[a-zA-Z0-9_-]+$.",
        ),
        ({"tools": [ADD, ADD]}, "Two tools are called 'add'."),
    ],
)
def test_messages_are_sentences_for_clients(body: dict[str, Any], message: str) -> None:
    problem = problem_of({"input": "Hi", **body})
    assert problem is not None
    assert problem.message == message


@pytest.mark.parametrize("value", ITEMS["include"])
def test_includes_are_judged_alike_in_bodies_and_queries(value: str) -> None:
    refused = problem_of({"input": "Hi", "include": [value]})
    assert (check_include(value) is None) == (refused is None)


def test_a_query_is_refused_in_the_same_words() -> None:
    """Its location has a step of the framework's; its values are text."""
    error = {"type": "int_parsing", "loc": ("query", "limit"), "msg": "unable to parse"}
    assert first_problem([error], skip=1) == (
        "limit",
        "invalid_value",
        "Invalid value for 'limit': an integer was expected.",
    )


def test_an_error_of_a_new_kind_is_told_without_pydantics_words() -> None:
    error = {"type": "novelty", "loc": ("input",), "msg": "Input should be a valid dict"}
    assert first_problem([error]).message == "Invalid value for 'input': it is not valid."


# --- Anything at all ------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "role", "content", "name", "text", "format", "schema", "id"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(CreateResponse.model_fields)), JSON, max_size=4))
def test_every_body_is_accepted_or_refused_in_words(body: dict[str, Any]) -> None:
    problem_of(body)
