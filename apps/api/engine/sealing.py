"""Sealed reasoning: what clients that store nothing here carry from turn to turn themselves.

Bound to the project: what one project got, another cannot use.
"""

from __future__ import annotations

from apps.store.encryption import Cipher

CIPHER = Cipher("gwr1", b"gw-reasoning")


class Sealer:
    """Seals and opens texts of one project with GATEWAY_ENCRYPTION_KEYS."""

    def __init__(self, project_id: int) -> None:
        self._bound = f"reasoning:{project_id}"

    @property
    def can_seal(self) -> bool:
        return CIPHER.can_encrypt

    def seal(self, text: str) -> str:
        """An opaque string. Needs a key."""
        return CIPHER.encrypt(text, bound=self._bound)

    def open(self, sealed: str) -> str | None:
        """The text; None for what another server, project or forgotten key has sealed."""
        return CIPHER.decrypt(sealed, bound=self._bound)
