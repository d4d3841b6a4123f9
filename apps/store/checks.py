"""System checks of the store: what would go wrong later, said at the start."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004
from django.db import DatabaseError
from django.db.models.functions import Now

from apps.store.conf import conf
from apps.store.models import Lease

SHORTEST_LEASE = 10.0
POSTGRESQL_CONNECTIONS = 100

E001 = Error(
    "CONN_MAX_AGE is set for the database.",
    hint="Requests do not keep a thread, so kept connections leak. Leave it at 0: PostgreSQL has "
    "a pool.",
    id="store.E001",
)
E002 = Error(
    "ATOMIC_REQUESTS is set for the database.",
    hint="It would hold a transaction open for as long as a response streams. Remove it.",
    id="store.E002",
)
E004 = Error(
    "Several machines serve requests, and each keeps files on its own disk.",
    hint="Set GATEWAY_FILE_STORAGE to s3://BUCKET/PREFIX, or to file:///FOLDER that all of them "
    "share.",
    id="store.E004",
)
W001 = Warning(
    "GATEWAY_LEASE_SECONDS is so short that a busy process may lose its lease, and its runs.",
    hint=f"Take at least {SHORTEST_LEASE:g}.",
    id="store.W001",
)
W002 = Warning(
    "One process may open more connections than PostgreSQL admits by default.",
    hint="Take fewer GATEWAY_DB_THREADS, or raise max_connections of PostgreSQL: each process has "
    "a pool of its own.",
    id="store.W002",
)


@register()
def check_databases(**kwargs: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    for config in settings.DATABASES.values():
        if config.get("CONN_MAX_AGE", 0) != 0:
            found.append(E001)
        if config.get("ATOMIC_REQUESTS"):
            found.append(E002)
        pool = config.get("OPTIONS", {}).get("pool")
        if isinstance(pool, dict) and pool.get("max_size", 0) > POSTGRESQL_CONNECTIONS:
            found.append(W002)
    return found


@register()
def check_lease(**kwargs: Any) -> list[CheckMessage]:
    return [W001] if conf.LEASE_SECONDS < SHORTEST_LEASE else []


@register(deploy=True)  # it asks the database
def check_file_storage(**kwargs: Any) -> list[CheckMessage]:
    if conf.FILE_STORAGE:
        return []
    try:
        alive = Lease.objects.filter(expires_at__gt=Now()).order_by()
        hosts = alive.values("host").distinct().count()
    except DatabaseError:  # there may be no table yet
        return []
    return [E004] if hosts > 1 else []
