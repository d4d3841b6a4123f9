"""Secrets of operators: texts that are encrypted at rest and show themselves to nobody by accident."""

from __future__ import annotations

import json
from collections.abc import Mapping

from apps.store.encryption import Cipher

CIPHER = Cipher("gws1", b"gw-secrets")


class SecretUnreadable(Exception):
    """A stored secret cannot be decrypted: its key is not among GATEWAY_ENCRYPTION_KEYS."""

    def __init__(self) -> None:
        super().__init__(
            "A stored secret cannot be decrypted: the key that it was encrypted with is not among "
            "GATEWAY_ENCRYPTION_KEYS. Give that key back, or enter the secret anew."
        )


class Secret:
    """A text that printing does not show. Empty ones are false. What came from the database is
    decrypted when it is revealed, and only then."""

    __slots__ = ("_bound", "_sealed", "_text")

    def __init__(self, text: str = "", *, sealed: str = "", bound: str = "") -> None:
        self._text, self._sealed, self._bound = text, sealed, bound

    @classmethod
    def mapping(cls, values: Mapping[str, str]) -> Secret:
        """A secret that holds names and values."""
        return cls(json.dumps(dict(values)) if values else "")

    @property
    def is_stored(self) -> bool:
        """Whether this came from the database, unlike what was entered just now."""
        return bool(self._sealed)

    @property
    def is_current(self) -> bool:
        """Whether what is stored was encrypted with the first of the keys."""
        return CIPHER.is_current(self._sealed)

    def reveal(self) -> str:
        """The text itself. Raises SecretUnreadable."""
        if not self._sealed:
            return self._text
        text = CIPHER.decrypt(self._sealed, bound=self._bound)
        if text is None:
            raise SecretUnreadable
        return text

    def reveal_mapping(self) -> dict[str, str]:
        """The names and values of a ``mapping``. Raises SecretUnreadable."""
        values: dict[str, str] = json.loads(self.reveal() or "{}")
        return values

    def sealed_for(self, bound: str) -> str:
        """What the database keeps. Raises NoEncryptionKey."""
        if self._sealed:
            return self._sealed
        return CIPHER.encrypt(self._text, bound=bound) if self._text else ""

    def __bool__(self) -> bool:
        return bool(self._text or self._sealed)

    def __repr__(self) -> str:
        return f"<Secret: {self}>"

    def __str__(self) -> str:
        return "set" if self else "not set"
