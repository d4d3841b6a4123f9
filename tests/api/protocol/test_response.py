"""The Response resource: its states, and what of a request it shows."""

from __future__ import annotations

import json
import re
from itertools import product
from typing import Any

import pytest

from apps.api.protocol.ids import new_id
from apps.api.protocol.requests import CreateResponse
from apps.api.protocol.response import (
    TRANSITIONS,
    Response,
    Status,
    TransitionError,
    new_response,
    splice,
)
from tests.spec_tables import check_response

TOOL = {"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": True}
FORMAT = {
    "type": "json_schema",
    "name": "answer",
    "schema": {"type": "object", "default": None, "enum": [None]},
    "strict": True,
}


def shown(**request: Any) -> dict[str, Any]:
    """The resource that a request makes, as clients see it."""
    body = CreateResponse.model_validate({"input": "Hi", **request})
    response = new_response(body, id="resp_1", model="tiny", created_at=10)
    whole: dict[str, Any] = json.loads(splice(response.to_body(), []))
    check_response(whole)
    return whole


def test_a_response_shows_the_defaults_of_what_was_not_asked_for() -> None:
    assert shown() == {
        "id": "resp_1",
        "object": "response",
        "created_at": 10,
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "model": "tiny",
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
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "truncation": "disabled",
        "access_programs": None,
        "usage": None,
        "user": None,
        "metadata": {},
        "output": [],
    }


@pytest.mark.parametrize(
    ("request_", "field", "value"),
    [
        ({"instructions": "Be terse."}, "instructions", "Be terse."),
        ({"max_output_tokens": 16}, "max_output_tokens", 16),
        ({"parallel_tool_calls": False}, "parallel_tool_calls", False),
        ({"previous_response_id": "resp_0"}, "previous_response_id", "resp_0"),
        ({"prompt_cache_key": "k"}, "prompt_cache_key", "k"),
        ({"prompt_cache_retention": "in-memory"}, "prompt_cache_retention", "in_memory"),
        ({"reasoning": {"effort": "low"}}, "reasoning", {"effort": "low", "summary": None}),
        ({"safety_identifier": "s"}, "safety_identifier", "s"),
        ({"service_tier": "auto"}, "service_tier", "default"),
        ({"store": False}, "store", False),
        ({"temperature": 0}, "temperature", 0.0),
        ({"top_p": 0.5}, "top_p", 0.5),
        ({"user": "u"}, "user", "u"),
        ({"metadata": {"a": "b"}}, "metadata", {"a": "b"}),
        ({"text": {"format": FORMAT}}, "text", {"format": FORMAT, "verbosity": "medium"}),
        ({"tools": [TOOL]}, "tools", [TOOL | {"description": None}]),
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice", "required"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "name": "add"}},
            "tool_choice",
            {"type": "function", "name": "add"},
        ),
    ],
)
def test_a_response_shows_what_was_asked_for(
    request_: dict[str, Any], field: str, value: object
) -> None:
    assert shown(**request_)[field] == value


@pytest.mark.parametrize(("before", "after"), [*product(Status, Status)])
def test_only_moves_of_the_table_are_made(before: Status, after: Status) -> None:
    response = Response(id="resp_1", created_at=10, model="tiny", status=before)
    if after in TRANSITIONS.get(before, ()):
        response.move(after)
        assert response.status is after
    else:
        with pytest.raises(TransitionError):
            response.move(after)
        assert response.status is before


def test_what_has_ended_does_not_move() -> None:
    ends = {Status.COMPLETED, Status.INCOMPLETE, Status.FAILED, Status.CANCELLED}
    assert set(Status) - TRANSITIONS.keys() == ends


def test_ids_tell_their_kind_and_sort_by_time() -> None:
    ids = [new_id("resp") for _ in range(100)]
    assert len(set(ids)) == 100
    assert all(re.fullmatch(r"resp_[0-9a-f]{48}", made) for made in ids)
    assert [made[:17] for made in ids] == sorted(made[:17] for made in ids)


def test_call_ids_are_short() -> None:
    assert re.fullmatch(r"call_[0-9A-Za-z]{24}", new_id("call"))
