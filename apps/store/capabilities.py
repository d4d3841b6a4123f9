"""Remembers what the upstream's models can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from django.utils import timezone

from apps.store.models import Capability

Found: TypeAlias = tuple[str, bool | None, str]
"""A capability, whether it works (None when it could not be told), and why not."""


def remember(models: Mapping[str, Sequence[Found]], *, upstream_version: str) -> None:
    """Keep what was just found, in the place of what was known before. One statement."""
    now = timezone.now()
    Capability.objects.bulk_create(
        [
            Capability(
                model=model,
                capability=capability,
                works=works,
                detail=detail,
                upstream_version=upstream_version[:64],
                checked_at=now,
            )
            for model, found in models.items()
            for capability, works, detail in found
        ],
        update_conflicts=True,
        unique_fields=["model", "capability"],
        update_fields=["works", "detail", "upstream_version", "checked_at"],
    )


def works(model: str, capability: str) -> bool | None:
    """What was found last; None when it could not be told, or nobody has looked."""
    rows = Capability.objects.filter(model=model, capability=capability)
    return rows.values_list("works", flat=True).first()
