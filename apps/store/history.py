"""Reads a chain of responses: one statement, whatever its length."""

from __future__ import annotations

import itertools
from operator import itemgetter
from typing import Any

import orjson
from django.db import DEFAULT_DB_ALIAS, connections

from apps.store.errors import ResponseNotFound, StillRunning
from apps.store.snapshots import History, StoredTurn

CHAIN = """
WITH RECURSIVE chain(id, previous_id, depth) AS (
    SELECT id, previous_id, 0 FROM store_response
    WHERE id = %s AND project_id = %s AND kept
    UNION ALL
    SELECT
        chain.previous_id,
        (SELECT older.previous_id FROM store_response older WHERE older.id = chain.previous_id),
        chain.depth + 1
    FROM chain WHERE chain.previous_id IS NOT NULL
)
"""
"""Not a join: PostgreSQL takes a step for many rows and, while the table is small, reads all of it
for each."""

ALIVE = (
    "EXISTS (SELECT 1 FROM store_lease WHERE store_lease.owner = response.owner "
    "AND store_lease.expires_at > {clock})"
)
CLOCK = {"sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')", "postgresql": "now()"}

WHOLE = """
{chain}
SELECT chain.depth, response.status, response.deleted_at IS NOT NULL,
    response.status IN ('queued', 'in_progress') AND {alive}, response.root_id, payload.messages,
    item.payload
FROM chain
JOIN store_response response ON response.id = chain.id
LEFT JOIN store_responsepayload payload ON payload.response_id = chain.id AND chain.depth > 0
LEFT JOIN store_storeditem item
    ON item.response_id = chain.id AND payload.messages IS NULL
ORDER BY chain.depth DESC, item.direction, item.position
"""
"""One row for a turn whose messages are kept, else one for each of its items. The last turn has its
items: what comes next may belong to its last message."""

INPUT_ITEMS = """
{chain}
SELECT item.id, item.item_id
FROM chain JOIN store_storeditem item ON item.response_id = chain.id
WHERE chain.depth > 0 OR item.direction = 0
ORDER BY chain.depth DESC, item.direction, item.position
"""


def load_history(response_id: str, *, project_id: int) -> History:
    """The chain that ends with this response. Raises ResponseNotFound and StillRunning."""
    rows = _rows(WHOLE, response_id, project_id)
    if not rows:
        raise ResponseNotFound(response_id)
    turns = []
    for _, group in itertools.groupby(rows, key=itemgetter(0)):
        own = list(group)
        _, status, is_deleted, is_running, root_id, messages, _ = own[0]
        if is_deleted:
            raise ResponseNotFound(response_id)
        if is_running:
            raise StillRunning(response_id)
        texts = [payload for *_, payload in own if payload is not None]
        items: list[dict[str, Any]] = orjson.loads(f"[{','.join(texts)}]") if texts else []
        turns.append(StoredTurn(status == "completed", messages, items))
    return History(root_id=root_id, turns=turns)


def chain_items(response_id: str, *, project_id: int) -> list[tuple[int, str]]:
    """Key and item id of every item before and in the input of this response, oldest first."""
    return _rows(INPUT_ITEMS, response_id, project_id)


def _rows(sql: str, response_id: str, project_id: int) -> list[Any]:
    db = connections[DEFAULT_DB_ALIAS]
    alive = ALIVE.format(clock=CLOCK[db.vendor])
    with db.cursor() as cursor:
        cursor.execute(sql.format(chain=CHAIN, alive=alive), [response_id, project_id])
        rows: list[Any] = cursor.fetchall()
    return rows
