"""How deep a JSON value is, at the speed of the library that would have to write it."""

from __future__ import annotations

from typing import Any

import orjson

WRITABLE = 254
"""Levels of lists and objects that orjson writes."""


def is_deeper(value: Any, levels: int) -> bool:
    """Whether a value that orjson has read has more levels of lists and objects than these, which are
    at most ``WRITABLE``."""
    for _ in range(WRITABLE - levels):
        value = [value]
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return True
    return False
