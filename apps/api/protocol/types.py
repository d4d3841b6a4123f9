"""JSON as Python has it once it was parsed."""

from typing import Any, TypeAlias

JSONObject: TypeAlias = dict[str, Any]

Item: TypeAlias = JSONObject
"""One element of a response's input or output, as clients see it: always with type and id."""
