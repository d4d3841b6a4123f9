"""The body of a create request: every field is known, and what it may be."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from apps.api.protocol.extras import VllmExtras
from apps.api.protocol.requests import (
    HARMLESS_INCLUDES,
    INCLUDE_ENCRYPTED,
    INCLUDE_LOGPROBS,
    CreateResponse,
    ReasoningConfig,
    StreamOptions,
    TextConfig,
    TextFormatJsonObject,
    TextFormatJsonSchema,
    TextFormatText,
)
from apps.api.protocol.tools import CustomTool, FunctionTool, ToolChoiceNamed
from tests.api.protocol.bodies import accept, problem_of
from tests.spec_tables import ITEMS, fields_of

ADD: dict[str, Any] = {"type": "function", "name": "add"}
SCHEMA: dict[str, Any] = {"type": "json_schema", "name": "answer", "schema": {"type": "object"}}

MODELS: dict[str, type[BaseModel]] = {
    "ResponseCreateParamsBase": CreateResponse,
    "ResponseCreateParams.StreamOptions": StreamOptions,
    "Reasoning": ReasoningConfig,
    "ResponseTextConfig": TextConfig,
    "ResponseFormatText": TextFormatText,
    "ResponseFormatJSONObject": TextFormatJsonObject,
    "ResponseFormatTextJSONSchemaConfig": TextFormatJsonSchema,
    "FunctionTool": FunctionTool,
    "CustomTool": CustomTool,
    "ToolChoiceFunction": ToolChoiceNamed,
    "ToolChoiceCustom": ToolChoiceNamed,
}
"""Objects of the tables, and our models of them."""


def known(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


# --- Every field ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_every_field_of_the_tables_is_known(name: str) -> None:
    assert fields_of(name).keys() - known(MODELS[name]) == set()


def test_fields_that_only_one_official_client_has_are_known() -> None:
    assert ITEMS["python_only_create_params"].keys() - known(CreateResponse) == set()


@pytest.mark.parametrize("name", sorted(known(CreateResponse) - {"input"}))
def test_null_is_as_good_as_nothing(name: str) -> None:
    assert problem_of({"input": "Hi", name: None}) is None


def test_a_null_input_needs_a_previous_response() -> None:
    assert problem_of({"input": None, "previous_response_id": "resp_1"}) is None
    problem = problem_of({"input": None})
    assert problem is not None
    assert (problem.param, problem.code) == ("input", "missing_required_parameter")


ASKS_FOR_NOTHING: dict[str, list[Any]] = {
    "background": [False],
    "background_options": [{}, {"completion_window": "soonest"}],
    "client_metadata": [{}, {"trace": "1"}],
    "context_management": [[]],
    "conversation": ["", {}],
    "include": [[], list(HARMLESS_INCLUDES), [INCLUDE_LOGPROBS, INCLUDE_ENCRYPTED]],
    "image": [{}],
    "access_programs": [{}],
    "input": ["", []],
    "instructions": [""],
    "max_output_tokens": [1, 16, 10**9],
    "metadata": [{}, {"k" * 64: "v" * 512}, {str(n): "" for n in range(16)}],
    "model": ["tiny", "org/model"],
    "moderation": [{}],
    "parallel_tool_calls": [True, False],
    "previous_response_id": ["resp_1"],
    "prompt": [{}],
    "prompt_cache_key": ["", "k" * 512],
    "prompt_cache_options": [{}],
    "prompt_cache_retention": ["in_memory", "in-memory", "24h"],
    "reasoning": [
        {},
        {"effort": None, "summary": None, "generate_summary": None},
        *({"effort": e} for e in ("none", "minimal", "low", "medium", "high", "xhigh", "max")),
        {"context": "auto", "mode": "standard"},
        {"context": "all_turns", "summary": "auto", "generate_summary": "concise"},
    ],
    "safety_identifier": ["", "s" * 128],
    "service_tier": ["auto", "default", "flex", "priority"],
    "store": [True, False],
    "stream": [True, False],
    "temperature": [0, 1, 1.5, 2],
    "text": [
        {},
        {"format": None, "verbosity": "medium"},
        {"verbosity": "low"},
        {"format": {"type": "text"}},
        {"format": {"type": "json_object"}},
        {"format": SCHEMA},
        {"format": SCHEMA | {"strict": True, "description": "What to answer."}},
    ],
    "tool_choice": ["auto", "none"],
    "tools": [
        [],
        [ADD],
        [ADD | {"description": None, "parameters": None, "strict": None}],
        [ADD | {"description": "Adds.", "parameters": {"type": "object"}, "strict": True}],
        [ADD | {"defer_loading": True, "async": False, "allowed_callers": ["direct"]}],
        [{"type": "custom", "name": "run", "format": {"type": "text"}}],
        [{"type": "namespace", "name": "files", "description": "", "tools": [ADD]}, ADD],
        [{"type": "tool_search", "execution": "client"}, {"type": "web_search"}],
        [{"type": "local_shell"}, {"type": "shell"}, {"type": "apply_patch"}],
    ],
    "max_tool_calls": [1, 128],
    "top_logprobs": [0, 20],
    "top_p": [0, 0.5, 1],
    "truncation": ["disabled", "auto"],
    "user": ["", "u" * 512],
}
"""By field: values that are served, and those that ask for nothing."""


def test_the_list_of_accepted_values_is_complete() -> None:
    assert known(CreateResponse) - ASKS_FOR_NOTHING.keys() - known(VllmExtras) == {"stream_options"}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in ASKS_FOR_NOTHING.items() for value in values],
)
def test_a_value_is_accepted(name: str, value: Any) -> None:
    assert problem_of({"input": "Hi", name: value}) is None


@pytest.mark.parametrize("options", [{}, {"include_obfuscation": False}])
def test_stream_options_go_with_streams(options: dict[str, Any]) -> None:
    assert problem_of({"input": "Hi", "stream": True, "stream_options": options}) is None
    problem = problem_of({"input": "Hi", "stream_options": options})
    assert problem is not None
    assert (problem.param, problem.code) == ("stream_options", "invalid_value")


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "add"}])
def test_a_choice_that_forces_a_tool_is_accepted_with_tools(choice: object) -> None:
    assert problem_of({"input": "Hi", "tools": [ADD], "tool_choice": choice}) is None


def test_the_older_spelling_of_the_cache_retention_is_understood() -> None:
    body = accept({"input": "Hi", "prompt_cache_retention": "in-memory"})
    assert body.prompt_cache_retention == "in_memory"
