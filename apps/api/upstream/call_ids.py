"""Call ids as the model's family expects them: some templates print them into the prompt.

Rendered from the call's position, so that a continuation shows the model the same ids. Pairing
never depends on them.
"""

from __future__ import annotations

import hashlib
import string
from enum import StrEnum

ALPHANUMERIC = string.digits + string.ascii_letters


class CallIdStyle(StrEnum):
    PLAIN = "plain"  #: as clients see them
    ALNUM9 = "alnum9"  #: nine letters and digits, which Mistral's templates demand
    INDEXED = "indexed"  #: functions.NAME:N, counted over the conversation, as Kimi K2 was taught


FAMILIES = {"mistral": CallIdStyle.ALNUM9, "mixtral": CallIdStyle.ALNUM9,
            "magistral": CallIdStyle.ALNUM9, "devstral": CallIdStyle.ALNUM9,
            "codestral": CallIdStyle.ALNUM9, "ministral": CallIdStyle.ALNUM9,
            "kimi": CallIdStyle.INDEXED}  # fmt: skip
"""A word in a model's name, in lower case, and the style of its family."""


def style_for(model: str, setting: str) -> CallIdStyle:
    """The style named by the setting; with ``auto`` that of the model's family."""
    if setting != "auto":
        return CallIdStyle(setting)
    name = model.lower()
    return next((style for word, style in FAMILIES.items() if word in name), CallIdStyle.PLAIN)


class CallIds:
    """Renders the ids of one conversation, in the order of its calls."""

    def __init__(self, style: CallIdStyle) -> None:
        self._style = style
        self._count = 0

    def render(self, call_id: str, name: str) -> str:
        """The next call's id."""
        position, self._count = self._count, self._count + 1
        match self._style:
            case CallIdStyle.PLAIN:
                return call_id
            case CallIdStyle.INDEXED:
                return f"functions.{name}:{position}"
            case CallIdStyle.ALNUM9:
                return _nine(position, name)


def _nine(position: int, name: str) -> str:
    number = int.from_bytes(hashlib.sha256(f"{position}:{name}".encode()).digest()[:8])
    digits = ""
    for _ in range(9):
        number, rest = divmod(number, len(ALPHANUMERIC))
        digits += ALPHANUMERIC[rest]
    return digits
