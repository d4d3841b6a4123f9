"""Reads one string member out of a JSON object whose text comes in pieces.

For tools whose only argument is a text: it can be shown as it is written. Not a JSON parser: what
does not begin with that member is left to whoever parses the whole.
"""

from __future__ import annotations

import json
import re

from apps.api.protocol.types import JSONObject

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


class TextArgument:
    """The arguments of a call whose only one is a text, shown while they come. What is not the
    object that was asked for is the text as it is: some models write no JSON."""

    def __init__(self, name: str) -> None:
        self._name, self._member = name, StringMember(name)
        self._arguments: list[str] = []
        self._shown: list[str] = []

    @property
    def text(self) -> str:
        """What was shown so far."""
        return "".join(self._shown)

    @property
    def ended(self) -> bool:
        """Whether the text is whole."""
        return self._member.ended

    @property
    def arguments(self) -> str:
        """What the model wrote so far."""
        return "".join(self._arguments)

    @property
    def is_broken(self) -> bool:
        """Whether the arguments, when no more come, only began as the object that was asked for:
        what was shown may lack its end, or end at a quote that the model did not escape."""
        return self._member.began and self._parsed() is None

    def feed(self, arguments: str) -> str:
        """Gives what is to be shown now."""
        self._arguments.append(arguments)
        return self._show(self._member.feed(arguments))

    def rest(self) -> str:
        """At the end of the arguments: the text, when nothing of it could be shown on the way."""
        return "" if self._shown else self._show(self._whole())

    def _whole(self) -> str:
        parsed = self._parsed()
        if parsed is None:
            return "" if self._member.began else self.arguments
        value = parsed.get(self._name)
        if isinstance(value, str):
            return _without_halves(value)
        return "" if parsed == {} else self.arguments

    def _parsed(self) -> JSONObject | None:
        """The object that the arguments are; texts in it may have line breaks."""
        try:
            parsed = json.loads(self.arguments, strict=False)
        except (ValueError, RecursionError):
            return None
        return parsed if isinstance(parsed, dict) else None

    def _show(self, text: str) -> str:
        if text:
            self._shown.append(text)
        return text


def _without_halves(text: str) -> str:
    """Lone surrogates are no text; they cannot be sent."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
