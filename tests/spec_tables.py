"""Checks events, responses and items against the tables in ``tests/spec``.

Required keys, nulls, types, constants, enums, unions and unknown keys, over the references of both
files. Deliberate divergence stands in ``EXTRA``, ``NULLABLE``, ``OMITTED`` and ``OPEN``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Json = dict[str, Any]

SPEC = Path(__file__).parent / "spec"
EVENTS: Json = json.loads((SPEC / "openai-responses-events.json").read_text())
ITEMS: Json = json.loads((SPEC / "openai-responses-items.json").read_text())
DEFS: Json = {**ITEMS["defs"], **EVENTS["defs"]}

EXTRA = {
    # The service sends the first; the Open Responses dialect requires the penalties.
    "Response": {"store", "presence_penalty", "frequency_penalty"},
    # The service nests what its libraries type flat: both are there.
    "error": {"error"},
    # The table of stored items has it, and clients expect it of every item.
    "ResponseCustomToolCall": {"status"},
    # Harmless, and spares clients a look at the item.
    "response.function_call_arguments.done": {"name"},
}
"""Keys that the tables do not have, by the object's name."""

NULLABLE = {
    ("Response", "usage"),  # null until the end, as the service sends it
    ("Response", "user"),  # always sent, as the service does
}
"""Fields that may be null though the tables say otherwise."""

OMITTED = {
    ("ResponseFunctionWebSearch", "action"),  # not known yet when the item is added
}
"""Required fields that may be missing."""

OPEN = {
    ("ResponseError", "code"),  # the service sends others too; ours name what failed
}
"""Enums that other strings may extend."""

TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
    "any": object,
}


def check_event(event: Json) -> None:
    """Raise AssertionError unless it is an event of the tables."""
    kind = str(event.get("type"))
    assert kind in EVENTS["events"], f"unknown event {kind!r}"
    entry = EVENTS["events"][kind]
    optional = {name: {"type": "any"} for name in entry.get("may_carry", ())}
    _report(_object(event, {**optional, **entry["fields"]}, kind, kind))


def check_response(response: Json) -> None:
    """Raise AssertionError unless it is a Response."""
    _report(_problems(response, {"$ref": ITEMS["response"]}, "response"))


def check_item(item: Json) -> None:
    """Raise AssertionError unless it is an item of a response's output."""
    _check_kind(item, ITEMS["output_items"])


def check_input_item_listed(item: Json) -> None:
    """Raise AssertionError unless it is an item as lists of stored items have it."""
    _check_kind(item, ITEMS["stored_items_listed_by_input_items_and_conversations"])


def fields_of(name: str) -> Json:
    """The fields of an object of the tables, by its name."""
    fields: Json = DEFS[name]["fields"]
    return fields


def _check_kind(item: Json, kinds: Json) -> None:
    kind = str(item.get("type"))
    assert kind in kinds, f"unknown item {kind!r}"
    _report(_problems(item, {"anyOf": [{"$ref": name} for name in kinds[kind]]}, kind))


def _report(problems: Iterator[str]) -> None:
    found = list(problems)
    assert not found, "; ".join(found)


# --- Schemas --------------------------------------------------------------------------------------


def _problems(value: Any, schema: Json, path: str) -> Iterator[str]:
    """What is wrong with a value, each with the path to it."""
    if value is None and _nullable(schema):
        return
    if "$ref" in schema:
        yield from _referred(value, schema["$ref"], path)
    elif "anyOf" in schema:
        yield from _union(value, schema["anyOf"], path)
    else:
        yield from _plain(value, schema, path)


def _nullable(schema: Json) -> bool:
    target = DEFS[schema["$ref"]] if "$ref" in schema else {}
    return bool(schema.get("nullable") or target.get("nullable"))


def _referred(value: Any, name: str, path: str) -> Iterator[str]:
    target = DEFS[name]
    if target["kind"] == "object":
        yield from _object(value, target["fields"], name, path)
    else:
        yield from _problems(value, target["schema"], path)


def _union(value: Any, members: list[Json], path: str) -> Iterator[str]:
    """The complaints of the member that comes nearest."""
    kind = value.get("type") if isinstance(value, dict) else None
    flat = list(_flat(members))
    candidates = [member for member in flat if _says(member, kind)] or flat
    yield from min((list(_problems(value, member, path)) for member in candidates), key=len)


def _flat(members: list[Json]) -> Iterator[Json]:
    """The members, those of unions among them one by one."""
    for member in members:
        target = DEFS[member["$ref"]] if "$ref" in member else {}
        if "anyOf" in target.get("schema", {}):
            yield from _flat(target["schema"]["anyOf"])
        else:
            yield member


def _says(member: Json, kind: object) -> bool:
    """Whether a member of a union is the object with this ``type``."""
    target = DEFS[member["$ref"]] if "$ref" in member else {}
    return kind is not None and target.get("fields", {}).get("type", {}).get("const") == kind


def _object(value: Any, fields: Json, name: str, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path} is no object but {value!r}"
        return
    for key, field in fields.items():
        if key in value:
            yield from _field(value[key], field, name, key, f"{path}.{key}")
        elif field.get("required") and (name, key) not in OMITTED:
            yield f"{path}.{key} is missing"
    for key in value.keys() - fields.keys() - EXTRA.get(name, set()):
        yield f"{path}.{key} is unknown"


def _field(value: Any, field: Json, name: str, key: str, path: str) -> Iterator[str]:
    if value is None and (name, key) in NULLABLE:
        return
    yield from _problems(value, {**field, "open": True} if (name, key) in OPEN else field, path)


def _plain(value: Any, schema: Json, path: str) -> Iterator[str]:
    kind = schema["type"]
    if not _is(value, kind):
        yield f"{path} is no {kind} but {value!r}"
    elif "const" in schema and value != schema["const"]:
        yield f"{path} is not {schema['const']!r} but {value!r}"
    elif "enum" in schema and not schema.get("open") and value not in schema["enum"]:
        yield f"{path} is none of {schema['enum']} but {value!r}"
    elif kind == "array" and "items" in schema:
        for position, member in enumerate(value):
            yield from _problems(member, schema["items"], f"{path}[{position}]")
    elif isinstance(schema.get("additionalProperties"), dict):
        for key, member in value.items():
            yield from _problems(member, schema["additionalProperties"], f"{path}.{key}")


def _is(value: Any, kind: str) -> bool:
    """To Python, true and false are numbers."""
    mistaken = isinstance(value, bool) and kind in ("integer", "number")
    return isinstance(value, TYPES[kind]) and not mistaken
