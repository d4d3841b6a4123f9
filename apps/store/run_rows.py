"""The rows of one run, inserted and ended. No transactions: who calls has begun one.

Every run pays for these statements. The ORM needs three to eight times as much to compose the same,
which was a fifth of all that a short response cost. ``django.db.connection`` looks for the thread's
connection each time that it is asked for anything: here it is looked for once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from apps.store.history import CLOCK
from apps.store.models import StoredItem
from apps.store.snapshots import RunSnapshot

ENDING = (
    "status", "ended_at", "first_token_ms", "duration_ms", "input_tokens", "cached_tokens",
    "output_tokens", "reasoning_tokens", "turns", "tool_calls", "error_code", "error_stage",
    "upstream_status", "upstream_attempts",
)  # fmt: skip
"""The columns that the end of a run writes."""

AS_IN_SNAPSHOT = (
    "id", "project_id", "request_id", "previous_id", "root_id", "kept", "owner", "model",
    "streamed", "ignored_tools", "created_at", *ENDING,
)  # fmt: skip


MOST_ROWS = 64
"""Rows in one statement for PostgreSQL."""


def _insert_into(table: str, *columns: str) -> str:
    marks = ", ".join(["%s"] * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - all ours


INSERT_RUN = _insert_into("store_response", *AS_IN_SNAPSHOT, "api_key_id", "used_at")
INSERT_PAYLOAD = _insert_into("store_responsepayload", "response_id", "body", "messages")
INSERT_ITEM = _insert_into(
    "store_storeditem", "response_id", "direction", "position", "item_id", "kind", "payload"
)
END_RUN = f"""
UPDATE store_response SET {", ".join(f"{column} = %s" for column in ENDING)}
WHERE id = %s AND owner = %s AND status IN ('queued', 'in_progress') AND deleted_at IS NULL
    AND EXISTS (
        SELECT 1 FROM store_lease
        WHERE store_lease.owner = store_response.owner AND store_lease.expires_at > {{clock}}
    )
"""  # noqa: S608 - all ours
END_PAYLOAD = "UPDATE store_responsepayload SET body = %s, messages = %s WHERE response_id = %s"
USE_CHAIN = "UPDATE store_response SET used_at = {clock} WHERE id = %s"


def insert(runs: Sequence[RunSnapshot]) -> None:
    """Runs as they stand, with their input and, if they have ended, their output."""
    db, kept = connections[DEFAULT_DB_ALIAS], [run for run in runs if run.kept]
    _execute_many(db, INSERT_RUN, [_row(db, run) for run in runs])
    _execute_many(db, INSERT_PAYLOAD, [(run.id, run.body.decode(), run.messages) for run in kept])
    _insert_items(db, kept, StoredItem.INPUT, StoredItem.OUTPUT)


def end(run: RunSnapshot) -> bool:
    """Compare and swap on owner, state and lease; the payload follows only when that held."""
    db = connections[DEFAULT_DB_ALIAS]
    if not _execute(db, END_RUN, [*_values(db, run, ENDING), run.id, run.owner]):
        return False
    if run.kept:
        _execute(db, END_PAYLOAD, [run.body.decode(), run.messages, run.id])
        _insert_items(db, [run], StoredItem.OUTPUT)
    return True


def use_chains(root_ids: Iterable[str]) -> None:
    """Note that chains were used. Always in one order: whoever waits for whom, nobody waits in a
    circle."""
    db = connections[DEFAULT_DB_ALIAS]
    for root_id in sorted(set(root_ids)):
        _execute(db, USE_CHAIN, [root_id])


def _row(db: BaseDatabaseWrapper, run: RunSnapshot) -> list[Any]:
    row = _values(db, run, AS_IN_SNAPSHOT)
    return [*row, run.key_id, _value(db, run.ended_at or run.created_at)]


def _insert_items(db: BaseDatabaseWrapper, runs: Iterable[RunSnapshot], *directions: int) -> None:
    rows = [
        (run.id, direction, position, item.item_id, item.kind, item.json.decode())
        for run in runs
        for direction in directions
        for position, item in enumerate(run.input if direction == StoredItem.INPUT else run.output)
    ]
    _execute_many(db, INSERT_ITEM, rows)


def _execute_many(db: BaseDatabaseWrapper, sql: str, rows: Sequence[Sequence[Any]]) -> None:
    """SQLite runs the same statement again. On PostgreSQL that would be a pipeline, with round trips
    of its own and half as much CPU again."""
    if not rows:
        return
    with db.cursor() as cursor:
        if db.vendor == "sqlite":
            cursor.executemany(sql, rows)
            return
        marks = sql[sql.rindex("(") :]
        for start in range(0, len(rows), MOST_ROWS):
            some = rows[start : start + MOST_ROWS]
            cursor.execute(sql + f", {marks}" * (len(some) - 1), [*chain(*some)])


def _execute(db: BaseDatabaseWrapper, sql: str, values: Sequence[Any]) -> int:
    """The number of rows that it changed."""
    with db.cursor() as cursor:
        cursor.execute(sql.format(clock=CLOCK[db.vendor]), values)
        return int(cursor.rowcount)


def _values(db: BaseDatabaseWrapper, run: RunSnapshot, names: Iterable[str]) -> list[Any]:
    return [_value(db, getattr(run, name)) for name in names]


def _value(db: BaseDatabaseWrapper, value: Any) -> Any:
    """As the database takes it."""
    is_moment = isinstance(value, datetime)
    return db.ops.adapt_datetimefield_value(value) if is_moment else value
