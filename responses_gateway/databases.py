"""Turns DATABASE_URL into Django's database settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import dj_database_url

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool


def from_url(url: str, *, threads: int) -> dict[str, Any]:
    """Settings for SQLite or PostgreSQL; options in the URL win over what is set here. The pool
    holds one connection per API thread and a few for the admin, whose requests each run in a
    thread of their own."""
    config = cast(dict[str, Any], dj_database_url.parse(url, conn_max_age=0))
    options: dict[str, Any] = {}
    if config["ENGINE"] == "django.db.backends.sqlite3":
        options = {
            "transaction_mode": "IMMEDIATE",  # a writer waits for its turn instead of failing late
            "timeout": 20,
            "init_command": "PRAGMA synchronous=NORMAL;",
        }
    elif config["ENGINE"] == "django.db.backends.postgresql":
        options = {
            "pool": {
                "min_size": 1,
                "max_size": threads + 8,
                "timeout": 5,
                "reconnect_timeout": 1,  # then anew, instead of ever longer waits
                "reconnect_failed": _try_anew,
            },
            "application_name": "responses-gateway",
            # A server or a firewall that is gone without a word is noticed: threads keep connections.
            "keepalives_idle": 60,
            "keepalives_interval": 10,
            "keepalives_count": 3,
            "tcp_user_timeout": 15_000,
        }
        config["CONN_HEALTH_CHECKS"] = True  # survives a database that was restarted
    config["OPTIONS"] = options | config.get("OPTIONS", {})
    return config


def _try_anew(pool: ConnectionPool[Any]) -> None:
    """An attempt to connect was given up: who waits for it would wait in vain, though the database
    came back in the next moment. The pool itself begins another one only for those who come later."""
    with pool._lock:
        if pool._waiting:
            pool._maybe_grow_pool()
