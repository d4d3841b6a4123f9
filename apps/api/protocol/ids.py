"""Public ids: a prefix that tells the kind, then time and randomness in hexadecimal."""

from __future__ import annotations

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
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(18)}"
