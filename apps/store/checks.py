"""System checks of the store: what would go wrong later, said at the start."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004

from apps.store.conf import conf

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
E003 = Error(
    "GATEWAY_HISTORY_CACHE is on, but there is no Redis.",
    hint="Set REDIS_URL, or switch the cache off.",
    id="store.E003",
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
def check_history_cache(**kwargs: Any) -> list[CheckMessage]:
    return [E003] if conf.HISTORY_CACHE and not settings.REDIS_URL else []


@register()
def check_lease(**kwargs: Any) -> list[CheckMessage]:
    return [W001] if conf.LEASE_SECONDS < SHORTEST_LEASE else []
