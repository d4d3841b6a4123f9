"""Arguments against a tool's schema: what the model is told, and that checking has an end."""

from __future__ import annotations

import time
from typing import Any

import pytest

from apps.tools.mcp.arguments import DEEPEST, LARGEST_SCHEMA, is_usable, problem
from tests.tools.mcp.sessions import nested

CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "array", "items": {"type": "integer", "minimum": 1}},
    },
    "required": ["city"],
    "additionalProperties": False,
}


def test_arguments_that_fit_are_no_problem() -> None:
    assert problem(CITY, {"city": "Ulm", "days": [1, 2]}) is None
    assert problem({}, {"anything": None}) is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "'city' is a required property."),
        ({"city": 1}, "city: 1 is not of type 'string'."),
        ({"city": "Ulm", "days": [1, 0]}, "days[1]: 0 is less than the minimum of 1."),
        ({"city": "Ulm", "x": 1}, "Additional properties are not allowed ('x' was unexpected)."),
    ],
)
def test_the_model_is_told_where_and_what_is_wrong(arguments: dict[str, Any], told: str) -> None:
    assert problem(CITY, arguments) == f"The arguments do not fit the tool's schema. {told}"


def test_the_model_is_told_of_several_problems_but_not_of_all() -> None:
    names = [f"n{number}" for number in range(50)]
    found = problem({"required": names}, {})
    assert found is not None
    assert found.count("required") == 3


def test_what_the_model_is_told_is_short() -> None:
    found = problem(CITY, {"city": ["x" * 100_000]})
    assert found is not None
    assert len(found) < 500


def test_arguments_have_a_depth_that_servers_can_read() -> None:
    assert problem({}, nested(DEEPEST)) is None
    for levels in (DEEPEST + 1, 1000):
        found = problem({}, nested(levels))
        assert found is not None
        assert "nested too deeply" in found


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://192.0.2.1/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"properties": {"a": {"$ref": "#/$defs/nowhere"}}},
        {"$schema": "http://192.0.2.1/dialect"},
    ],
)
def test_references_are_not_fetched(schema: dict[str, Any]) -> None:
    assert problem(schema, {"a": 1}) is None


def test_references_inside_the_schema_are_followed() -> None:
    schema = {"properties": {"a": {"$ref": "#/$defs/text"}}, "$defs": {"text": {"type": "string"}}}
    assert problem(schema, {"a": 1}) is not None


def test_older_dialects_mean_what_they_say() -> None:
    tuples = {"properties": {"a": {"items": [{"type": "string"}, {"type": "integer"}]}}}
    old = {"$schema": "http://json-schema.org/draft-07/schema#", **tuples}
    assert is_usable(old)
    assert problem(old, {"a": ["x", "y"]}) is not None


def doubling(depth: int) -> dict[str, Any]:
    """Looks at its instance two to the depth times."""
    defs = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]}
        for n in range(depth)
    }
    return {"type": "object", "$ref": "#/$defs/d0", "$defs": {**defs, f"d{depth}": {}}}


@pytest.mark.parametrize(
    ("schema", "arguments"),
    [
        (doubling(60), {}),
        ({"$ref": "#"}, {}),
        ({"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": "a" * 60 + "!"}),
        ({"patternProperties": {"^(a+)+$": {}}}, {"a" * 60 + "!": 1}),
        ({"properties": {"a": {"uniqueItems": True}}}, {"a": [{"n": n} for n in range(100_000)]}),
        ({"properties": {"a": {"items": {"type": "integer"}}}}, {"a": [1] * 1_000_000}),
    ],
    ids=["doubling", "circle", "pattern", "pattern of names", "uniqueness", "a long list"],
)
def test_no_schema_keeps_the_server_busy(schema: dict[str, Any], arguments: dict[str, Any]) -> None:
    began = time.process_time()
    assert problem(schema, arguments) is None
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"type": ["object", "null"]},
        {"type": "object", "properties": []},
        {"type": "object", "properties": {"a": {"type": "text"}}},
        {"type": "object", "required": "a"},
        {"type": "object", "description": "x" * LARGEST_SCHEMA},
    ],
)
def test_tools_with_a_wrong_schema_are_not_usable(schema: dict[str, Any]) -> None:
    assert not is_usable(schema)


def test_tools_with_a_right_schema_are_usable() -> None:
    assert is_usable(CITY)
    assert is_usable({})
    assert is_usable({"type": "object", "$ref": "https://example.org/unknown.json"})


def test_a_schema_that_is_nested_without_end_is_not_usable() -> None:
    schema: dict[str, Any] = {}
    for _ in range(5000):
        schema = {"properties": {"a": schema}}
    assert not is_usable(schema)


def test_a_wrong_schema_is_no_problem_of_the_arguments() -> None:
    assert problem({"type": "object", "required": 5, "minProperties": "x"}, {"a": 1}) is None
