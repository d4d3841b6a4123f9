"""What the scripted upstream answers. The model's name carries it, because that is the one thing
which every gateway passes on unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Self

PREFIX = "bench"
WORDS = tuple(f" w{number:03d}" for number in range(1000))
CALL_ENDS = '"}'
CODE = ("__import__('time')", ".sleep(0.1)", " or 1", *["+1"] * 13)
"""What hosted tools are called with: code that takes a moment, and a text like any other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One answer. ``name`` is the model that asks for it."""

    tokens: int = 32  #: of the answer, or of the call's arguments
    reasoning: int = 0  #: tokens before them
    delay: int = 0  #: milliseconds between tokens; 0 is as fast as the reader takes them
    stamp: int = 0  #: 1: each token is the microsecond in which it was sent
    tool: int = 0  #: 1: the answer is a call of the first tool
    hosted: int = 0  #: so many calls come first, one after another, which the gateway runs

    @property
    def name(self) -> str:
        return f"{PREFIX}:" + ",".join(f"{key}={value}" for key, value in asdict(self).items())

    @classmethod
    @lru_cache(maxsize=256)
    def parse(cls, name: str) -> Self:
        """Raises ValueError when it is not such a name."""
        prefix, _, values = name.partition(":")
        if prefix != PREFIX:
            raise ValueError(f"{name!r} does not begin with {PREFIX!r}")
        given = dict(value.split("=") for value in values.split(",") if value)
        return cls(**{key: int(value) for key, value in given.items()})

    def next(self, messages: Sequence[dict[str, Any]]) -> Script:
        """What is said to these messages."""
        if not self.hosted:
            return self
        roles = [message["role"] for message in messages]
        since = roles[::-1].index("user")
        return replace(self, tool=int(roles[-since:].count("tool") < self.hosted if since else 1))

    def pieces(self, argument: str) -> list[str]:
        """The tokens after the reasoning. A call has one argument of this name."""
        if self.tool and self.hosted:
            return [f'{{"{argument}":"', *CODE, CALL_ENDS]
        words = [WORDS[position % 1000] for position in range(self.tokens)]
        return [f'{{"{argument}":"', *words, CALL_ENDS] if self.tool else words

    @property
    def deltas(self) -> int:
        """How many deltas a client gets, calls of hosted tools aside."""
        return self.reasoning + self.tokens + (2 if self.tool else 0)
