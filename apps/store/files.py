"""Uploaded files. Plain synchronous functions, each one transaction; of one project each."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q, QuerySet
from django.utils import timezone

from apps.store.errors import FileNotFound
from apps.store.models import File
from apps.store.paging import by_time
from apps.store.snapshots import FilePage, StoredFile

COLUMNS = ("id", "filename", "purpose", "size", "blob", "created_at", "expires_at")


def _live(project_id: int) -> QuerySet[File]:
    unexpired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    return File.objects.filter(unexpired, project_id=project_id)


def add_file(
    file_id: str,
    *,
    project_id: int,
    filename: str,
    purpose: str,
    size: int,
    blob: str,
    expires_at: datetime | None,
) -> StoredFile:
    """Keep a file whose bytes are stored already."""
    row = File.objects.create(
        id=file_id,
        project_id=project_id,
        filename=filename,
        purpose=purpose,
        size=size,
        blob=blob,
        created_at=timezone.now(),
        expires_at=expires_at,
    )
    return StoredFile(*(getattr(row, column) for column in COLUMNS))


def get_file(file_id: str, *, project_id: int) -> StoredFile:
    """Raises FileNotFound."""
    row = _live(project_id).filter(pk=file_id).values_list(*COLUMNS).first()
    if row is None:
        raise FileNotFound(file_id)
    return StoredFile(*row)


def list_files(
    *, project_id: int, purpose: str | None, after: str | None, limit: int, newest_first: bool
) -> FilePage:
    """Raises UnknownCursor."""
    rows = by_time(_live(project_id), after=after, newest_first=newest_first)
    if purpose is not None:
        rows = rows.filter(purpose=purpose)
    found = [StoredFile(*row) for row in rows.values_list(*COLUMNS)[: limit + 1]]
    return FilePage(found[:limit], len(found) > limit)


def delete_file(file_id: str, *, project_id: int) -> str:
    """Forget a file. Gives its blob, to be erased. Raises FileNotFound."""
    blob = get_file(file_id, project_id=project_id).blob
    File.objects.filter(project_id=project_id, pk=file_id).delete()
    return blob


def forget_expired(limit: int) -> list[str]:
    """Forget files that have expired, at most so many. Gives their blobs, to be erased."""
    rows = File.objects.filter(expires_at__lte=timezone.now())
    found = list(rows.order_by("expires_at").values_list("pk", "blob")[:limit])
    File.objects.filter(pk__in=[key for key, _ in found]).delete()
    return [blob for _, blob in found]
