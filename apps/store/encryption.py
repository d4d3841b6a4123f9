"""Encryption with GATEWAY_ENCRYPTION_KEYS: the first encrypts, all decrypt.

AES-GCM under a key derived for each purpose, bound to a context: what was encrypted for one place
cannot be decrypted at another. The key id in front lets keys be rotated.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings

NONCE = 12


class NoEncryptionKey(Exception):
    """There is no key to encrypt with."""

    def __init__(self) -> None:
        super().__init__("There is no encryption key: set GATEWAY_ENCRYPTION_KEYS.")


class Cipher:
    """Encrypts texts for one purpose. ``prefix`` marks what it makes, ``person`` (at most 16
    bytes) keeps its keys apart from those of other purposes."""

    def __init__(self, prefix: str, person: bytes) -> None:
        self._prefix, self._person = prefix, person

    @property
    def can_encrypt(self) -> bool:
        return bool(settings.GATEWAY_ENCRYPTION_KEYS)

    def encrypt(self, text: str, *, bound: str) -> str:
        """``prefix.key id.base64``. Raises NoEncryptionKey."""
        keys = self._keys()
        if not keys:
            raise NoEncryptionKey
        key_id, key = next(iter(keys.items()))
        nonce = os.urandom(NONCE)
        sealed = AESGCM(key).encrypt(nonce, text.encode(), bound.encode())
        return f"{self._prefix}.{key_id}.{base64.urlsafe_b64encode(nonce + sealed).decode()}"

    def decrypt(self, sealed: str, *, bound: str) -> str | None:
        """The text; None for what was encrypted under a key that is gone, or for another place."""
        prefix, _, rest = sealed.partition(".")
        key_id, _, data = rest.partition(".")
        key = self._keys().get(key_id)
        if prefix != self._prefix or key is None:
            return None
        try:
            raw = base64.urlsafe_b64decode(data)
            return AESGCM(key).decrypt(raw[:NONCE], raw[NONCE:], bound.encode()).decode()
        except (binascii.Error, InvalidTag, ValueError):
            return None

    def is_current(self, sealed: str) -> bool:
        """Whether the first of the keys made this."""
        first = next(iter(self._keys()), None)
        return first is not None and sealed.startswith(f"{self._prefix}.{first}.")

    def _keys(self) -> Mapping[str, bytes]:
        return {
            _key_id(key): hashlib.blake2b(
                key.encode(), digest_size=32, person=self._person
            ).digest()
            for key in settings.GATEWAY_ENCRYPTION_KEYS
        }


def _key_id(key: str) -> str:
    return hashlib.blake2b(key.encode(), digest_size=4, person=b"gw-key-id").hexdigest()
