"""Erasing many rows without keeping anybody waiting: each batch is one transaction."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

BATCH = 500


def erase(rows: QuerySet[Any], *, dry_run: bool) -> int:
    """Erase these rows, unless it is only asked how many there are. Gives their number."""
    if dry_run:
        return rows.count()
    total = 0
    while batch := list(rows.values_list("pk", flat=True)[:BATCH]):
        total += rows.model._default_manager.filter(pk__in=batch).delete()[0]
    return total
