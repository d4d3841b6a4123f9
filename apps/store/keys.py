"""Who is calling: issues, checks and revokes API keys.

Synchronous: asynchronous callers pass these functions to ``apps.store.db.in_thread``. Whether a
request may go without a key is decided at the edge, not here.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import Q
from django.utils import timezone

from apps.store.models import ApiKey, Project

PREFIX_LENGTH = 12
PREFIX_ALPHABET = string.ascii_lowercase + string.digits
SECRET_BYTES = 32
TOKEN = re.compile(r"gw_([a-z0-9]{12})_([A-Za-z0-9_-]{43})")
USE_NOTED_EVERY = timedelta(minutes=1)

# Each request pays for one of these. Written out, they cost a seventh of what the ORM needs to
# compose the same statement.
CONFIG_VERSION = "(SELECT version FROM store_configuration WHERE id = 1) AS config_version"
KEY = f"""
    SELECT digest, project_id, id, {CONFIG_VERSION},
        last_used_at IS NULL OR last_used_at <= %s, may_prioritize
    FROM store_apikey
    WHERE prefix = %s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > %s)
"""  # noqa: S608 - nothing in it comes from outside
OPEN_PROJECT = f"""
    SELECT id, {CONFIG_VERSION} FROM store_project
    WHERE slug = %s AND NOT EXISTS (SELECT 1 FROM store_apikey)
"""  # noqa: S608 - nothing in it comes from outside


@dataclass(frozen=True, slots=True)
class Principal:
    """On whose behalf a request runs, and under which version of the configuration.

    ``use_is_due`` asks for ``note_use``, in a thread that may write and when nobody waits."""

    project_id: int
    key_id: int | None
    config_version: int
    use_is_due: bool = False
    may_prioritize: bool = False


def mint(key: ApiKey) -> str:
    """Give a key that is not saved yet its prefix and digest; the token is kept nowhere."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    key.prefix = "".join(secrets.choice(PREFIX_ALPHABET) for _ in range(PREFIX_LENGTH))
    key.digest = _digest(secret)
    return f"gw_{key.prefix}_{secret}"


def issue(
    project: Project,
    *,
    name: str,
    expires_at: datetime | None = None,
    may_prioritize: bool = False,
) -> tuple[ApiKey, str]:
    """Create a key. The token, ``gw_<prefix>_<secret>``, cannot be had a second time."""
    key = ApiKey(project=project, name=name, expires_at=expires_at, may_prioritize=may_prioritize)
    token = mint(key)
    key.save()
    return key, token


def revoke(key: ApiKey) -> bool:
    """End a key's validity for good; False when that had been done before."""
    if key.revoked_at is not None:
        return False
    key.revoked_at = timezone.now()
    key.save(update_fields=["revoked_at"])
    return True


def authenticate(token: str) -> Principal | None:
    """The principal of a valid token: one statement."""
    if (match := TOKEN.fullmatch(token)) is None:
        return None
    prefix, secret = match.groups()
    db, now = connections[DEFAULT_DB_ALIAS], timezone.now()
    adapt = db.ops.adapt_datetimefield_value
    with db.cursor() as cursor:
        cursor.execute(KEY, [adapt(now - USE_NOTED_EVERY), prefix, adapt(now)])
        row = cursor.fetchone()
    if row is None or not hmac.compare_digest(row[0], _digest(secret)):
        return None
    _, project_id, key_id, version, due, may_prioritize = row
    return Principal(project_id, key_id, version, bool(due), bool(may_prioritize))


def authenticate_all(tokens: list[str]) -> list[Principal | None]:
    """As many requests at once: one statement for each token, however many of them have it."""
    found = {token: authenticate(token) for token in set(tokens)}
    return [found[token] for token in tokens]


def anonymous() -> Principal | None:
    """The default project, as long as no key was ever made: a revoked key locks the door too."""
    project = next(iter(Project.objects.raw(OPEN_PROJECT, [Project.DEFAULT_SLUG])), None)
    return Principal(project.pk, None, vars(project)["config_version"]) if project else None


def _digest(secret: str) -> str:
    # The secret is 256 random bits: a slow hash would cost each request and protect nothing.
    return hashlib.sha256(secret.encode()).hexdigest()


def note_use(key_id: int) -> None:
    """Write down when the key was last used, at most once a minute."""
    now = timezone.now()
    due = Q(last_used_at=None) | Q(last_used_at__lte=now - USE_NOTED_EVERY)
    ApiKey.objects.filter(due, pk=key_id).update(last_used_at=now)
