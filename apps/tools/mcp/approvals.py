"""Requests to approve a call: their ids prove that this gateway asked.

An id holds a nonce, a MAC over whom, where and what, and the fingerprint of the tool as it was.
It is all that is needed when a client keeps the items itself. Pure but for the secret.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets

from django.conf import settings

from apps.tools.base import Verdict

NONCE, MAC, PRINT = 8, 32, 16
"""Hexadecimal digits."""


def request_id(
    *, project_id: int, identity: str, tool: str, arguments: str, fingerprint: str
) -> str:
    """A new id, ``mcpr_...``. ``arguments`` is JSON text."""
    nonce, shown = secrets.token_hex(NONCE // 2), fingerprint[:PRINT]
    mac = _mac(project_id, identity, tool, arguments, nonce, shown)
    return f"mcpr_{nonce}{mac}{shown}"


def judge(
    given: str,
    *,
    project_id: int,
    identity: str,
    tool: str,
    arguments: str,
    fingerprint: str | None,
) -> Verdict:
    """What an id is worth for this call. ``fingerprint`` is the tool's of today, None when it is
    there no more."""
    digits = given.removeprefix("mcpr_")
    if len(digits) != NONCE + MAC + PRINT:
        return Verdict.FORGED
    nonce, mac, shown = digits[:NONCE], digits[NONCE : NONCE + MAC], digits[NONCE + MAC :]
    expected = _mac(project_id, identity, tool, arguments, nonce, shown)
    if not hmac.compare_digest(mac.encode(), expected.encode()):
        return Verdict.FORGED
    if fingerprint is None or not hmac.compare_digest(shown, fingerprint[:PRINT]):
        return Verdict.STALE
    return Verdict.VALID


def _mac(project_id: int, identity: str, tool: str, arguments: str, nonce: str, shown: str) -> str:
    text = json.dumps([project_id, identity, tool, _canonical(arguments), nonce, shown])
    key = hashlib.blake2b(settings.SECRET_KEY.encode(), person=b"mcp approvals").digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:MAC]


def _canonical(arguments: str) -> str:
    """The same for the same arguments, however clients format JSON."""
    try:
        return json.dumps(json.loads(arguments), sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):  # too deep to be read, or to be written again
        return arguments
