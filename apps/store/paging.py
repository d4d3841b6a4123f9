"""Pages of rows by the time of their making."""

from __future__ import annotations

from typing import TypeVar

from django.db.models import Model, Q, QuerySet

from apps.store.errors import UnknownCursor

M = TypeVar("M", bound=Model)


def by_time(rows: QuerySet[M], *, after: str | None, newest_first: bool) -> QuerySet[M]:
    """The rows in order, from the one after ``after`` on. Ids sort by time too: they settle the
    order of what began in the same moment. Raises UnknownCursor."""
    if after is not None:
        cursor = rows.filter(pk=after).values_list("created_at", "pk").first()
        if cursor is None:
            raise UnknownCursor(after)
        created_at, key = cursor
        suffix = "lt" if newest_first else "gt"
        rows = rows.filter(
            Q(**{f"created_at__{suffix}": created_at})
            | Q(**{"created_at": created_at, f"pk__{suffix}": key})
        )
    return rows.order_by(*(("-created_at", "-pk") if newest_first else ("created_at", "pk")))
