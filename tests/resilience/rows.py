"""Rows of responses as an operator sees them: looked at from outside the gateway."""

from __future__ import annotations

from typing import NamedTuple

from tests.gateway import Database

COLUMNS = "id, status, kept, owner, error_code, error_stage, upstream_status, request_id"


class Row(NamedTuple):
    """What tests ask of a row."""

    id: str
    status: str
    kept: bool
    owner: str
    error_code: str
    error_stage: str
    upstream_status: int | None
    request_id: str

    @property
    def failure(self) -> tuple[str, str, str, int | None]:
        return self.status, self.error_stage, self.error_code, self.upstream_status


def row_of(database: Database, response_id: str) -> Row | None:
    """The row of a response, if there is one."""
    return _row(database, "id", response_id)


def row_of_request(database: Database, request_id: str | None) -> Row | None:
    """The row of the run that a request began, if there is one."""
    return _row(database, "request_id", request_id)


def _row(database: Database, column: str, value: str | None) -> Row | None:
    rows = database.query(f"SELECT {COLUMNS} FROM store_response WHERE {column} = %s", value)
    assert len(rows) <= 1
    return Row(*rows[0]) if rows else None


def status_of(database: Database, response_id: str) -> str | None:
    row = row_of(database, response_id)
    return row.status if row else None


def has_lease(database: Database, owner: str) -> bool:
    """Whether a process is alive, on the database's clock."""
    now = "strftime('%Y-%m-%d %H:%M:%f', 'now')" if database.is_sqlite else "now()"
    statement = f"SELECT 1 FROM store_lease WHERE owner = %s AND expires_at > {now}"
    return bool(database.query(statement, owner))
