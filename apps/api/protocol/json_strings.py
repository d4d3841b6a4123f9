"""Reads one string member out of a JSON object whose text comes in pieces.

For tools whose only argument is a text: it can be shown as it is written. Not a JSON parser: what
does not begin with that member is left to whoever parses the whole.
"""

from __future__ import annotations

import json
import re

TOKEN = re.compile(r'[^"\\]+|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
HIGH_SURROGATE = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}")


class StringMember:
    """``feed`` gives the growth of the decoded value; escapes may be cut anywhere."""

    def __init__(self, name: str) -> None:
        self._start = re.compile(r'\s*\{\s*"' + re.escape(name) + r'"\s*:\s*"')
        self._waiting = ""  # text that is not decoded yet
        self._inside = self._closed = False

    @property
    def began(self) -> bool:
        """Whether the member's value has begun."""
        return self._inside

    @property
    def ended(self) -> bool:
        """Whether the member's value is whole."""
        return self._closed

    def feed(self, text: str) -> str:
        if self._closed:
            return ""
        self._waiting += text
        if not self._inside:
            match = self._start.match(self._waiting)
            if match is None:
                return ""
            self._inside, self._waiting = True, self._waiting[match.end() :]
        return self._decode()

    def _decode(self) -> str:
        """Everything up to the closing quote or to an escape that is not whole yet."""
        end = safe = 0
        while match := TOKEN.match(self._waiting, end):
            end = match.end()
            # Half of a pair means nothing before the other half has come.
            if HIGH_SURROGATE.fullmatch(match.group()) is None or not self._could_be_pair(end):
                safe = end
        self._closed = self._waiting[end : end + 1] == '"'
        if self._closed:
            safe = end
        done, self._waiting = self._waiting[:safe], self._waiting[safe:]
        return _without_halves(json.loads(f'"{done}"', strict=False))

    def _could_be_pair(self, position: int) -> bool:
        """Whether a low surrogate follows, or may still come."""
        rest = self._waiting[position : position + 6]
        return (len(rest) < 6 and "\\uD000".startswith(rest[:2])) or rest[:2] == "\\u"


def _without_halves(text: str) -> str:
    """Lone surrogates are no text; they cannot be sent."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
