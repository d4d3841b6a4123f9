"""The rows of one run, inserted and ended. No transactions: who calls has begun one.

Every run pays for these statements. The ORM needs three to eight times as much to compose the same,
which was a fifth of all that a short response cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from django.db import connection

from apps.store.history import CLOCK
from apps.store.models import StoredItem
from apps.store.snapshots import ItemText, RunSnapshot

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


def _insert_into(table: str, *columns: str) -> str:
    marks = ", ".join(["%s"] * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 - all ours


INSERT_RUN = _insert_into("store_response", *AS_IN_SNAPSHOT, "api_key_id", "used_at", "revision")
INSERT_PAYLOAD = _insert_into("store_responsepayload", "response_id", "body")
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
END_PAYLOAD = "UPDATE store_responsepayload SET body = %s WHERE response_id = %s"
USE_CHAIN = "UPDATE store_response SET used_at = {clock} WHERE id = %s"


def insert(run: RunSnapshot) -> None:
    """The run as it stands, with its input and, if it has ended, its output."""
    row = _values(run, AS_IN_SNAPSHOT)
    _execute(INSERT_RUN, [*row, run.key_id, _value(run.ended_at or run.created_at), 0])
    if run.kept:
        _execute(INSERT_PAYLOAD, [run.id, run.body.decode()])
        _insert_items(run.id, (StoredItem.INPUT, run.input), (StoredItem.OUTPUT, run.output))
    if run.root_id != run.id:
        _execute(USE_CHAIN, [run.root_id])


def end(run: RunSnapshot) -> bool:
    """Compare and swap on owner, state and lease; the payload follows only when that held."""
    if not _execute(END_RUN, [*_values(run, ENDING), run.id, run.owner]):
        return False
    if run.kept:
        _execute(END_PAYLOAD, [run.body.decode(), run.id])
        _insert_items(run.id, (StoredItem.OUTPUT, run.output))
    _execute(USE_CHAIN, [run.root_id])
    return True


def _insert_items(response_id: str, *groups: tuple[int, Sequence[ItemText]]) -> None:
    rows = [
        (response_id, direction, position, item.item_id, item.kind, item.json.decode())
        for direction, items in groups
        for position, item in enumerate(items)
    ]
    with connection.cursor() as cursor:
        cursor.executemany(INSERT_ITEM, rows)


def _execute(sql: str, values: Sequence[Any]) -> int:
    """The number of rows that it changed."""
    with connection.cursor() as cursor:
        cursor.execute(sql.format(clock=CLOCK[connection.vendor]), values)
        return int(cursor.rowcount)


def _values(run: RunSnapshot, names: Iterable[str]) -> list[Any]:
    return [_value(getattr(run, name)) for name in names]


def _value(value: Any) -> Any:
    """As the database takes it."""
    is_moment = isinstance(value, datetime)
    return connection.ops.adapt_datetimefield_value(value) if is_moment else value
