"""Public ids: a prefix that tells the kind, then time and randomness in hexadecimal."""

from __future__ import annotations

import os
import re
import secrets
import string
import time
from collections.abc import Callable
from typing import TypeAlias

IdSource: TypeAlias = Callable[[str], str]
"""Makes an id from its prefix: ``ids("msg") -> "msg_..."``. Tests give a counter."""

ALPHANUMERIC = string.ascii_letters + string.digits


def new_id(prefix: str) -> str:
    """An id that sorts by its time of creation: 12 hexadecimal digits of it, 36 random ones.

    Call ids have the form that OpenAI's have, since clients limit their length.
    """
    if prefix == "call":
        return "call_" + "".join(secrets.choice(ALPHANUMERIC) for _ in range(24))
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{_random(36)}"


_pool: list[str] = []
os.register_at_fork(after_in_child=_pool.clear)  # or two processes would draw the same
AT_ONCE, LENGTH = 256, 36


def _random(digits: int) -> str:
    """Hexadecimal digits, at most 36, out of a pool: each visit to the system's source lets other
    threads take the interpreter, and the event loop then waits for it."""
    try:
        return _pool.pop()[:digits]
    except IndexError:
        drawn = secrets.token_hex(AT_ONCE * LENGTH // 2)
        _pool.extend(drawn[at : at + LENGTH] for at in range(0, len(drawn), LENGTH))
    return _random(digits)


class TurnIds:
    """Ids for the items of one run. Those of one turn begin alike, which ``turn_of`` reads: what
    the model said in one message can be told again as one message."""

    def __init__(self) -> None:
        self.turn = ""
        self.next_turn()

    def next_turn(self) -> None:
        self.turn = f"{time.time_ns() // 1_000_000:012x}{_random(8)}"

    def __call__(self, prefix: str) -> str:
        if prefix == "call":
            return new_id(prefix)
        return f"{prefix}_{self.turn}{_random(32)}"

    def mark(self, item_id: str) -> str:
        """An id that was made elsewhere (``mcpr_...``) as one of this turn."""
        prefix, _, rest = item_id.partition("_")
        return f"{prefix}_{self.turn}{rest}"


OF_A_TURN = re.compile(r"(?:[a-z]+_([0-9a-f]{20})[0-9a-f]{32}|mcpr_([0-9a-f]{20}).+)")
"""Other servers' ids, and those made for input, are longer or shorter."""


def turn_of(item_id: str) -> str | None:
    """What an id has in common with those of the same turn; None where nothing tells."""
    match = OF_A_TURN.fullmatch(item_id)
    return (match[1] or match[2]) if match else None


def unmarked(item_id: str) -> str:
    """The id that ``mark`` was given."""
    match = OF_A_TURN.fullmatch(item_id)
    prefix, _, rest = item_id.partition("_")
    return f"{prefix}_{rest[20:]}" if match and match[2] else item_id
