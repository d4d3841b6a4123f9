"""Reads a chain of responses: one statement, whatever its length."""

from __future__ import annotations

import itertools
from operator import itemgetter
from typing import Any

import orjson
from django.db import connection

from apps.store import history_cache
from apps.store.errors import ResponseNotFound, StillRunning
from apps.store.models.response import RUNNING
from apps.store.snapshots import History, StoredTurn

CHAIN = """
WITH RECURSIVE chain(id, previous_id, depth) AS (
    SELECT id, previous_id, 0 FROM store_response
    WHERE id = %s AND project_id = %s AND kept
    UNION ALL
    SELECT older.id, older.previous_id, chain.depth + 1
    FROM chain JOIN store_response older ON older.id = chain.previous_id
)
"""

ALIVE = (
    "EXISTS (SELECT 1 FROM store_lease WHERE store_lease.owner = response.owner "
    "AND store_lease.expires_at > {clock})"
)
CLOCK = {"sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')", "postgresql": "now()"}

HEAD = """
SELECT response.status, response.deleted_at IS NOT NULL, {alive}, root.id, root.revision
FROM store_response response JOIN store_response root ON root.id = response.root_id
WHERE response.id = %s AND response.project_id = %s AND response.kept
"""

WHOLE = """
{chain}
SELECT chain.depth, response.status, response.deleted_at IS NOT NULL, {alive},
    response.root_id, root.revision, item.payload
FROM chain
JOIN store_response response ON response.id = chain.id
JOIN store_response root ON root.id = response.root_id
LEFT JOIN store_storeditem item ON item.response_id = chain.id
ORDER BY chain.depth DESC, item.direction, item.position
"""

INPUT_ITEMS = """
{chain}
SELECT item.id, item.item_id
FROM chain JOIN store_storeditem item ON item.response_id = chain.id
WHERE chain.depth > 0 OR item.direction = 0
ORDER BY chain.depth DESC, item.direction, item.position
"""


def load_history(response_id: str, *, project_id: int) -> History:
    """The chain that ends with this response. Raises ResponseNotFound and StillRunning."""
    if history_cache.enabled():
        return _through_cache(response_id, project_id)
    return _from_database(response_id, project_id)


def _from_database(response_id: str, project_id: int) -> History:
    rows = _rows(WHOLE, response_id, project_id)
    if not rows:
        raise ResponseNotFound(response_id)
    turns = []
    for _, group in itertools.groupby(rows, key=itemgetter(0)):
        status, items = "", []
        for _, status, deleted, alive, root_id, revision, payload in group:  # noqa: B007 - as below
            _check(response_id, status, deleted=deleted, alive=alive)
            if payload is not None:
                items.append(payload)
        parsed: list[dict[str, Any]] = orjson.loads(f"[{','.join(items)}]")
        turns.append(StoredTurn(status == "completed", parsed))
    return History(root_id=root_id, revision=revision, turns=turns)


def _through_cache(response_id: str, project_id: int) -> History:
    """The database says whether the chain is still whole; the cache spares reading it."""
    rows = _rows(HEAD, response_id, project_id)
    if not rows:
        raise ResponseNotFound(response_id)
    status, deleted, alive, root_id, revision = rows[0]
    _check(response_id, status, deleted=deleted, alive=alive)
    turns = history_cache.get(project_id, response_id, revision)
    if turns is not None:
        return History(root_id=root_id, revision=revision, turns=turns)
    history = _from_database(response_id, project_id)
    history_cache.put(project_id, response_id, history)
    return history


def _check(response_id: str, status: str, *, deleted: bool, alive: bool) -> None:
    if deleted:
        raise ResponseNotFound(response_id)
    if status in RUNNING and alive:
        raise StillRunning(response_id)


def chain_items(response_id: str, *, project_id: int) -> list[tuple[int, str]]:
    """Key and item id of every item before and in the input of this response, oldest first."""
    return _rows(INPUT_ITEMS, response_id, project_id)


def _rows(sql: str, response_id: str, project_id: int) -> list[Any]:
    alive = ALIVE.format(clock=CLOCK[connection.vendor])
    with connection.cursor() as cursor:
        cursor.execute(sql.format(chain=CHAIN, alive=alive), [response_id, project_id])
        rows: list[Any] = cursor.fetchall()
    return rows
