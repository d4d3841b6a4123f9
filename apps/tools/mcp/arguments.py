"""A model's arguments against a tool's schema, before the server sees them.

Both come from strangers: nothing is fetched, no pattern is run, and there is an end to the checking.
What cannot be judged within these bounds is left to the server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache
from itertools import islice
from typing import Any

import orjson
from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from apps.nesting import is_deeper

MOST_WORK = 20_000
"""What checking arguments may cost, in keywords looked at: some dozen milliseconds. Schemas can ask
for more steps than there are atoms."""
MOST_WORK_ON_SCHEMA = 200_000
"""The same for checking a schema."""
COSTS = {"$ref": 20, "$dynamicRef": 20, "$recursiveRef": 20}
"""Of keywords that cost more than one."""
DEEPEST = 190
"""Levels of objects and lists: ``mcp`` reads no message of more than 200."""
MOST_UNIQUE = 200
"""Items that are compared with each other."""
LARGEST_SCHEMA = 200_000
"""Bytes. Models read schemas: more does not help them."""
MOST_PROBLEMS = 3
LONGEST_PROBLEM = 300
"""Characters."""

UNCHECKED = ("pattern", "patternProperties", "format")
"""Regular expressions can take for ever."""

Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]

_left: ContextVar[int] = ContextVar("checks left")


class _TooMuch(Exception):
    """The checking has no end in sight."""


def problem(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> str | None:
    """What is wrong with the arguments, in words for the model; None when nothing is, or when it
    cannot be told."""
    if is_deeper(dict(arguments), DEEPEST):
        return f"The arguments are nested too deeply: no more than {DEEPEST} levels can be sent."
    dialect = validator_for(schema, Draft202012Validator)
    found = _problems(dict(schema), dict(arguments), dialect, MOST_WORK)
    if not found:
        return None
    return "The arguments do not fit the tool's schema. " + " ".join(map(_words, found))


def is_usable(schema: Mapping[str, Any]) -> bool:
    """Whether models can be told of a tool with this schema: a valid one, of an object, and not
    larger than anybody can read. Takes milliseconds and more: to be asked in a thread, once."""
    if schema.get("type", "object") != "object":
        return False
    try:
        size = len(orjson.dumps(schema))
    except (TypeError, ValueError, RecursionError):  # orjson's own limit of nesting
        return False
    if size > LARGEST_SCHEMA:
        return False
    dialect = validator_for(schema, Draft202012Validator)
    return _problems(dialect.META_SCHEMA, dict(schema), dialect, MOST_WORK_ON_SCHEMA) == []


def _problems(schema: Any, instance: Any, dialect: Any, most: int) -> list[ValidationError] | None:
    """The first of them; None when there is no telling."""
    _left.set(most)
    checker = _bounded(dialect)(schema, registry=Registry())
    try:
        return list(islice(checker.iter_errors(instance), MOST_PROBLEMS))
    except (_TooMuch, RecursionError, Unresolvable):
        return None
    except (
        Exception
    ):  # keywords are used as they come: a schema that is wrong may break any of them
        return None


@cache
def _bounded(dialect: Any) -> Any:
    """The dialect, with what each keyword costs."""
    known = dialect.VALIDATORS
    keywords = {**known, "uniqueItems": _unique(known["uniqueItems"])}
    keywords |= dict.fromkeys(UNCHECKED, _ignored)
    return extend(
        dialect,
        {name: _counted(keyword, COSTS.get(name, 1)) for name, keyword in keywords.items()},
    )


def _counted(keyword: Keyword, cost: int) -> Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        left = _left.get() - cost
        _left.set(left)
        if left < 0:
            raise _TooMuch
        return keyword(validator, value, instance, schema)

    return check


def _ignored(validator: Any, value: Any, instance: Any, schema: Any) -> None:
    """The server checks it itself."""


def _unique(keyword: Keyword) -> Keyword:
    def check(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        if isinstance(instance, list) and len(instance) > MOST_UNIQUE:
            return None
        return keyword(validator, value, instance, schema)

    return check


def _words(error: ValidationError) -> str:
    where = error.json_path.removeprefix("$").removeprefix(".")
    message = error.message
    if len(message) > LONGEST_PROBLEM:
        message = f"{message[:LONGEST_PROBLEM]}…"
    return f"{where}: {message}." if where else f"{message}."
