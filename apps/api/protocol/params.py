"""How request bodies are validated: strict models whose errors name the parameter.

Tags of unions begin with ``#``, so that the path of an error can be told from them. Errors with
codes of their own are raised by ``refuse``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

CODES = {
    "unknown_parameter",
    "unsupported_parameter",
    "unsupported_value",
    "invalid_value",
    "invalid_image_url",
    "missing_required_parameter",
}


WITHOUT_NUL = r"^[^\x00]*$"
"""The pattern of what becomes a column: the one character that databases do not take."""

Id: TypeAlias = Annotated[str, Field(min_length=1, max_length=128, pattern=WITHOUT_NUL)]
"""The id of something that is stored."""


class Param(BaseModel):
    """Base of the objects in a request. Types are not coerced."""

    model_config = ConfigDict(strict=True, extra="forbid")


class TolerantParam(BaseModel):
    """Base of input items and parts: clients send back what some server gave them, with more
    members than we know."""

    model_config = ConfigDict(strict=True, extra="ignore")


def refuse(code: str, message: str, *, param: str | None = None) -> PydanticCustomError:
    """The error to raise in a validator: ``code`` is what the client reads in the envelope.

    ``{param}`` in the message becomes the parameter's path. ``param`` names the parameter where
    the validator is not the parameter's own."""
    assert code in CODES
    return PydanticCustomError(code, "{message}", {"message": message, "param": param})


def tag_by_type(known: Iterable[str]) -> Callable[[Any], str]:
    """A discriminator on ``type``: the tag is ``#`` and the type; ``#other`` for what is not
    known."""
    names = frozenset(known)

    def tag(value: Any) -> str:
        kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
        return f"#{kind}" if isinstance(kind, str) and kind in names else "#other"

    return tag


class ParamProblem(NamedTuple):
    """What is wrong with which parameter, in the words of the error envelope."""

    param: str | None
    code: str
    message: str


def param_path(location: Sequence[int | str]) -> str | None:
    """``("input", "#items", 0, "#message", "role")`` is ``input[0].role``. Pydantic's own mark of a
    key that is wrong itself is left out."""
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif not step.startswith("#") and step != "[key]":
            path += f".{step}" if path else step
    return path or None


def first_problem(errors: Sequence[Mapping[str, Any]], *, skip: int = 0) -> ParamProblem:
    """The first of pydantic's errors. ``skip`` drops leading steps of the location that are not
    the client's, as a framework adds them."""
    error = errors[0]
    kind, location, context = error["type"], error["loc"][skip:], error.get("ctx", {})
    param = param_path(location)
    if kind in CODES:
        param = context["param"] or param
        return ParamProblem(param, kind, context["message"].replace("{param}", str(param)))
    if kind == "extra_forbidden":
        return ParamProblem(param, "unknown_parameter", f"Unknown parameter: '{param}'.")
    if kind == "missing":
        return ParamProblem(
            param, "missing_required_parameter", f"Missing required parameter: '{param}'."
        )
    message = f"Invalid value for '{param}': {_reason(kind, location, context)}."
    return ParamProblem(param, _code(kind), message)


OBJECT = "an object was expected"

REASONS = {
    "string_type": "a string was expected",
    "bool_type": "true or false was expected",
    "bool_parsing": "true or false was expected",
    "int_type": "an integer was expected",
    "int_parsing": "an integer was expected",
    "float_type": "a number was expected",
    "list_type": "an array was expected",
    "dict_type": OBJECT,
    "model_type": OBJECT,
    "model_attributes_type": OBJECT,
    "literal_error": "{expected} was expected",
    "string_too_short": "its least length is {min_length}",
    "string_too_long": "its greatest length is {max_length}",
    "too_long": "its greatest length is {max_length}",
    "string_pattern_mismatch": "it must match {pattern}",
    "greater_than_equal": "it must be at least {ge:g}",
    "less_than_equal": "it must be at most {le:g}",
}
"""What clients read for pydantic's kinds of errors: its own sentences speak to its users."""


def _reason(kind: str, location: Sequence[int | str], context: Mapping[str, Any]) -> str:
    if kind == "list_type" and location[-1] == "#list":
        return "a string or an array was expected"
    return REASONS.get(kind, "it is not valid").format_map(context)


def _code(kind: str) -> str:
    if kind == "string_too_long":
        return "string_above_max_length"
    return "invalid_type" if kind.endswith("_type") else "invalid_value"
