"""Which request has an idempotency key: each function is one transaction, for use through
``apps.store.db``."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

from django.db import transaction
from django.db.models import OuterRef, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from apps.store.leases import valid_lease
from apps.store.models import IdempotencyKey, Lease, Response
from apps.store.models.response import RUNNING

LASTS = timedelta(days=1)
"""How long a key counts."""


class Earlier(NamedTuple):
    """The request that has the key, and what became of it. ``told`` says that its response can be
    read; an ``ended`` one that cannot was streamed, deleted, not to be stored, or died with its
    process."""

    response_id: str
    body_sha256: str
    ended: bool
    told: bool
    streamed: bool
    ignored_tools: str


@transaction.atomic
def claim(
    key: str, *, project_id: int, body_sha256: str, response_id: str, owner: str
) -> Earlier | None:
    """Take a key for a request. Gives the one that has it already; None when it is taken now."""
    outdated().filter(project_id=project_id, key=key).delete()
    row, is_new = IdempotencyKey.objects.get_or_create(
        project_id=project_id,
        key=key,
        defaults={
            "body_sha256": body_sha256,
            "response_id": response_id,
            "owner": owner,
            "created_at": timezone.now(),
        },
    )
    return None if is_new else _earlier(row)


def _earlier(row: IdempotencyKey) -> Earlier:
    """A run that is over soon has no row before its end: until then its process's lease counts."""
    rows = Response.objects.filter(pk=row.response_id, project_id=row.project_id)
    run = rows.annotate(alive=valid_lease(OuterRef("owner"))).first()
    if run is None:
        alive = Lease.objects.filter(owner=row.owner, expires_at__gt=Now()).exists()
        return Earlier(row.response_id, row.body_sha256, not alive, False, False, "")
    ended = run.status not in RUNNING or not run.alive
    readable = run.kept and run.deleted_at is None
    return Earlier(
        response_id=run.pk,
        body_sha256=row.body_sha256,
        ended=ended,
        told=ended and readable and not run.streamed,
        streamed=readable and run.streamed,
        ignored_tools=run.ignored_tools,
    )


def release(response_id: str) -> None:
    """Let the key of this request go: the next one may take it."""
    IdempotencyKey.objects.filter(response_id=response_id).delete()


def outdated() -> QuerySet[IdempotencyKey]:
    """Keys that count no more."""
    return IdempotencyKey.objects.filter(created_at__lt=timezone.now() - LASTS)
