"""Histories of recent responses in the shared cache: a shortcut, never the truth.

The key holds the chain's revision, which the database counts up with each deletion: what was
deleted cannot come back from a cache, also not from one that was away meanwhile. A cache that
cannot be reached is a miss.
"""

from __future__ import annotations

from django.core.cache import cache

from apps.store.conf import conf
from apps.store.snapshots import History, StoredTurn


def enabled() -> bool:
    return conf.HISTORY_CACHE


def get(project_id: int, response_id: str, revision: int) -> list[StoredTurn] | None:
    """The turns of a chain up to this response."""
    found = cache.get(_key(project_id, response_id, revision))
    return None if found is None else [StoredTurn(*turn) for turn in found]


def put(project_id: int, response_id: str, history: History) -> None:
    """Keep a chain up to this response."""
    value = [[turn.completed, turn.items] for turn in history.turns]
    cache.set(
        _key(project_id, response_id, history.revision), value, timeout=conf.HISTORY_CACHE_SECONDS
    )


def _key(project_id: int, response_id: str, revision: int) -> str:
    return f"history:{project_id}:{response_id}:{revision}"
