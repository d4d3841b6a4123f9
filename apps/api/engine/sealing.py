"""Sealed reasoning: what clients that store nothing here carry from turn to turn themselves.

AES-GCM under a key derived for the purpose, bound to the project: what one project got, another
cannot use. The key id in front lets keys be rotated.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

PREFIX = "gwr1"
NONCE = 12


class Sealer:
    """Seals and opens texts of one project with GATEWAY_ENCRYPTION_KEYS: the first seals, all
    open."""

    def __init__(self, project_id: int) -> None:
        self._bound = f"reasoning:{project_id}".encode()
        self._keys = {_key_id(key): _derive(key) for key in settings.GATEWAY_ENCRYPTION_KEYS}

    @property
    def can_seal(self) -> bool:
        return bool(self._keys)

    def seal(self, text: str) -> str:
        """An opaque string. Needs a key."""
        key_id, key = next(iter(self._keys.items()))
        nonce = os.urandom(NONCE)
        sealed = AESGCM(key).encrypt(nonce, text.encode(), self._bound)
        return f"{PREFIX}.{key_id}.{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def open(self, sealed: str) -> str | None:
        """The text; None for what another server, project or forgotten key has sealed."""
        prefix, _, rest = sealed.partition(".")
        key_id, _, data = rest.partition(".")
        if prefix != PREFIX or key_id not in self._keys:
            return None
        try:
            raw = base64.urlsafe_b64decode(data)
            return (
                AESGCM(self._keys[key_id]).decrypt(raw[:NONCE], raw[NONCE:], self._bound).decode()
            )
        except (binascii.Error, InvalidTag, ValueError):
            return None


def _derive(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=32, person=b"gw-reasoning").digest()


def _key_id(key: str) -> str:
    return hashlib.blake2b(key.encode(), digest_size=4, person=b"gw-key-id").hexdigest()
