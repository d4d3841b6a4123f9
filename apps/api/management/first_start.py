"""What the first start makes: secrets on disk, and a superuser who has no password yet."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from cryptography.fernet import Fernet
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.utils import get_random_secret_key
from django.db import connection

SUPERUSER = "admin"

Report = Callable[[str], None]


class FirstStartError(Exception):
    """Something has to be given by the operator; the message says what."""


def ensure_secrets(report: Report) -> None:
    """Write the keys that no setting gives, and use them from here on."""
    missing = []
    if settings.GATEWAY_SECRET_KEY_IS_TEMPORARY:
        missing.append("GATEWAY_SECRET_KEY")
    if not settings.GATEWAY_ENCRYPTION_KEYS:
        missing.append("GATEWAY_ENCRYPTION_KEYS")
    if missing and connection.vendor == "postgresql":
        names = " and ".join(f"{name} (or {name}_FILE)" for name in missing)
        raise FirstStartError(
            f"With PostgreSQL, set {names}: processes on other machines need the same keys. "
            "`python -c 'from cryptography.fernet import Fernet; "
            "print(Fernet.generate_key().decode())'` makes one that suits both."
        )
    folder = settings.DATA_DIR / "secrets"
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if "GATEWAY_SECRET_KEY" in missing:
        settings.SECRET_KEY = _kept(folder / "secret_key", get_random_secret_key(), report)
        settings.GATEWAY_SECRET_KEY_IS_TEMPORARY = False
    if "GATEWAY_ENCRYPTION_KEYS" in missing:
        key = _kept(folder / "encryption_key", Fernet.generate_key().decode(), report)
        settings.GATEWAY_ENCRYPTION_KEYS = [key]


def _kept(path: Path, fresh: str, report: Report) -> str:
    """Create the file with a fresh secret; the content wins if another process was first."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="utf-8").strip()
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(fresh + "\n")
    report(f"Secrets: {path} written. Keep a copy of it apart from the backups.")
    return fresh


def ensure_superuser(report: Report) -> None:
    """Create the first superuser, who logs in by link until a password is set."""
    users = get_user_model().objects
    if not users.filter(is_superuser=True).exists() and not users.filter(username=SUPERUSER):
        users.create_superuser(SUPERUSER, password=None)
        report(f"Admin: superuser {SUPERUSER!r} created, without a password.")
