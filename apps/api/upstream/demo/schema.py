"""Values that are valid for a JSON schema, taken from a text where it names them.

Deterministic and modest: a `pattern` that the text does not happen to meet is refused when the
client asked for a valid answer, and passed over when the schema only describes a tool.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .arithmetic import Number, number, numbers
from .request import Json, RefusedError

_MAX_DEPTH: Final = 32
_SHALLOW: Final = 4  # below this, what is optional is left out, so that recursive schemas end
_FORMATS: Final = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00Z",
    "duration": "P1D",
    "email": "demo@example.com",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_NO: Final = re.compile(r"(?:no|false|off|0)\b", re.IGNORECASE)
_SUBJECT: Final = (
    re.compile(r"\bwith\s+(?P<subject>.+)", re.IGNORECASE | re.DOTALL),
    re.compile(r"\bin\s+(?P<subject>.+)", re.IGNORECASE | re.DOTALL),
)


class SchemaError(RefusedError):
    """The schema cannot be met; vLLM finds such things after a stream has begun."""


def subject(text: str) -> str:
    """What a request is about: the text after "with" or "in", else all of it."""
    for pattern in _SUBJECT:
        if found := pattern.search(text):
            return found["subject"].strip().rstrip("?!.")
    return text.strip()


def fill(
    schema: Mapping[str, Any],
    text: str,
    *,
    default: str,
    known: Mapping[str, str] | None = None,
    strict: bool = True,
) -> Any:
    """A value for `schema`; strings that neither `known` nor `text` names are `default`."""
    return _Filler(schema, text, default, known or {}, strict).value(schema, "", 0)


def pairs(text: str) -> Json:
    """`name Ada, age 36` as an object; parts without a name and a value are left out."""
    found: Json = {}
    for part in re.split(r"[,;\n]|\band\b", text):
        if pair := re.fullmatch(r"\s*(\w+)\s*(?:[:=]\s*|\bis\s+|\s)\s*(\S.*?)[\s.]*", part):
            found[pair[1]] = _scalar(pair[2])
    return found


def _scalar(text: str) -> Any:
    constants = {"true": True, "false": False, "null": None}
    if text.lower() in constants:
        return constants[text.lower()]
    return number(text) if numbers(text) == [text] else text.strip("\"'")


@dataclass(frozen=True, slots=True)
class _Filler:
    root: Mapping[str, Any]
    text: str
    default: str
    known: Mapping[str, str]
    strict: bool

    def value(self, schema: Any, name: str, depth: int) -> Any:
        schema = self._resolved(schema, depth)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._member(schema["enum"], name)
        if options := schema.get("anyOf") or schema.get("oneOf"):
            return self._option(options, name, depth)
        kind = self._kind(schema, name)
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, name, depth)
            case "string":
                return self._string(schema, name)
            case "integer" | "number":
                return self._number(schema, name, whole=kind == "integer")
            case "boolean":
                return _NO.match(self._mention(name) or "") is None
            case "null":
                return None
        if self.strict:
            raise SchemaError(f"Grammar error: Invalid type: {kind}")
        return self.default

    def _resolved(self, schema: Any, depth: int) -> Mapping[str, Any]:
        """The schema with references followed and `allOf` folded in."""
        if schema is True:
            return {}
        if depth > _MAX_DEPTH or not isinstance(schema, Mapping):
            raise SchemaError("Grammar error: the schema cannot be met")
        if reference := schema.get("$ref"):
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            return {**self._resolved(self._pointed(reference), depth + 1), **rest}
        if parts := schema.get("allOf"):
            merged: Json = {key: value for key, value in schema.items() if key != "allOf"}
            for part in (self._resolved(part, depth + 1) for part in parts):
                properties = {**part.get("properties", {}), **merged.get("properties", {})}
                required = [*part.get("required", []), *merged.get("required", [])]
                merged = {**part, **merged}
                if properties:
                    merged |= {"properties": properties, "required": required}
            return merged
        return schema

    def _pointed(self, reference: str) -> Any:
        target: Any = self.root
        for key in reference.removeprefix("#").strip("/").split("/"):
            key = key.replace("~1", "/").replace("~0", "~")
            if key and (not isinstance(target, Mapping) or key not in target):
                raise SchemaError(f"Grammar error: cannot resolve {reference!r}")
            target = target[key] if key else target
        return target

    def _kind(self, schema: Mapping[str, Any], name: str) -> str:
        kind = schema.get("type")
        if isinstance(kind, list):
            concrete = [one for one in kind if one != "null"]
            nullable = len(concrete) < len(kind)
            return "null" if not concrete or (nullable and not self._mention(name)) else concrete[0]
        if kind is None:
            return (
                "object" if "properties" in schema else "array" if "items" in schema else "string"
            )
        return str(kind)

    def _option(self, options: list[Any], name: str, depth: int) -> Any:
        nullable = any(isinstance(one, Mapping) and one.get("type") == "null" for one in options)
        if nullable and (depth >= _SHALLOW or not self._mention(name)):
            return None
        concrete = [o for o in options if not (isinstance(o, Mapping) and o.get("type") == "null")]
        return self.value(concrete[0], name, depth + 1)

    def _object(self, schema: Mapping[str, Any], depth: int) -> Json:
        properties: Mapping[str, Any] = schema.get("properties", {})
        required = schema.get("required", () if depth >= _SHALLOW else tuple(properties))
        names = [n for n in properties if n in required or (depth < _SHALLOW and self._mention(n))]
        missing = [n for n in required if n not in properties]
        return {n: self.value(properties.get(n, {}), n, depth + 1) for n in [*names, *missing]}

    def _array(self, schema: Mapping[str, Any], name: str, depth: int) -> list[Any]:
        items = schema.get("prefixItems", [])
        least = schema.get("minItems", 0 if depth >= _SHALLOW else 1)
        most = schema.get("maxItems", max(least, len(items)))
        if schema.get("uniqueItems") and least > 1 and self.strict:
            raise SchemaError("The demo model cannot follow uniqueItems.")
        values = [self.value(item, name, depth + 1) for item in items]
        while len(values) < min(least, most):
            values.append(self.value(schema.get("items", {}), name, depth + 1))
        return values[:most]

    def _string(self, schema: Mapping[str, Any], name: str) -> str:
        if (form := schema.get("format")) in _FORMATS:
            return _FORMATS[form]
        text = self._mention(name) or self.default
        text = text.ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]
        if (pattern := schema.get("pattern")) and self.strict and not _meets(pattern, text):
            raise SchemaError(f"The demo model cannot follow the pattern {pattern!r}.")
        return text

    def _number(self, schema: Mapping[str, Any], name: str, *, whole: bool) -> Number:
        found = numbers(self._mention(name) or "") or numbers(self.text) or numbers(self.default)
        value: Number = number(found[0]) if found else 1
        step: Number = schema.get("multipleOf", 1 if whole else 0)
        least = _bound(schema, "minimum", "exclusiveMinimum", step or 1)
        most = _bound(schema, "maximum", "exclusiveMaximum", -(step or 1))
        value = value if least is None else max(value, least)
        value = value if most is None else min(value, most)
        if least is not None and value < least and not step:
            value = (value + least) / 2  # both bounds are open, and near each other
        if step and value % step:
            down = value // step * step
            value = down + step if least is not None and down < least else down
        return int(value) if whole else value

    def _member(self, members: list[Any], name: str) -> Any:
        """The one that the text names, else the first."""
        where = self._mention(name) or self.text
        for member in members:
            if isinstance(member, str) and re.search(rf"(?<!\w){re.escape(member)}(?!\w)", where):
                return member
        return members[0]

    def _mention(self, name: str) -> str | None:
        """What the text says about a property: `age 36`, `age: 36`, `the age is 36`."""
        if name in self.known or not name:
            return self.known.get(name)
        parts = re.split(r"[\s_-]+|(?<=[a-z])(?=[A-Z])", name)
        words = r"[\s_-]*".join(re.escape(part) for part in parts if part)
        link = r"\s*[:=]\s*|\s+is\s+" if len(name) < 3 else r"\s*[:=]\s*|\s+is\s+|\s+"
        pattern = rf"(?<!\w){words}(?:{link})(?P<value>[^,;\n]+?)\s*(?:[,;\n?!]|\.(?!\d)|\band\b|$)"
        found = re.search(pattern, self.text, re.IGNORECASE)
        return found["value"].strip("\"' ") if found else None


def _bound(schema: Mapping[str, Any], closed: str, opened: str, gap: Number) -> Number | None:
    if closed in schema:
        limit: Number = schema[closed]
        return limit
    return schema[opened] + gap if opened in schema else None


def _meets(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return False
