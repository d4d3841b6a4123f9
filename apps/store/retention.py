"""What is erased when its time has come, in batches: each is one transaction, so that nobody waits.

Plain synchronous functions for ``manage.py purge``, each giving how many there were.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from itertools import islice

from django.db.models import QuerySet
from django.utils import timezone

from apps.store import blobs, containers, files
from apps.store.batches import BATCH, erase
from apps.store.conf import conf
from apps.store.errors import ResponseNotFound
from apps.store.idempotency import outdated
from apps.store.media import unused
from apps.store.models import Container, ContainerFile, File, Response
from apps.store.models.response import RUNNING
from apps.store.responses import delete_response

ORPHANED_FOR = timedelta(hours=1)
"""Longer than it takes from the bytes of a file to its row."""


def purge_files(*, dry_run: bool = False) -> int:
    """Uploaded files that have expired."""
    if dry_run:
        return File.objects.filter(expires_at__lte=timezone.now()).count()
    total = 0
    while names := files.forget_expired(BATCH):
        blobs.erase_now(names)
        total += len(names)
    return total


def purge_containers(*, dry_run: bool = False) -> int:
    """Containers that have expired lose their files. Their rows stay, for clients to see."""
    full = Container.objects.filter(
        emptied_at=None, deleted_at=None, expires_at__lte=timezone.now()
    )
    total = 0
    while number := full.count():
        if dry_run:
            return number
        blobs.erase_now(containers.empty_expired(BATCH))
        total += min(number, BATCH)
    return total


def purge_orphans(*, dry_run: bool = False) -> int:
    """Bytes that no row refers to: whoever stored them was stopped before the row was written.
    Only where the file storage belongs to this database alone. Raises StorageUnavailable."""
    before = timezone.now() - ORPHANED_FOR
    names = blobs.stored_now()
    total = 0
    while batch := set(islice(names, BATCH)):
        for model in (File, ContainerFile):
            batch -= set(model.objects.filter(blob__in=batch).values_list("blob", flat=True))
        orphans = [name for name in batch if blobs.is_older_now(name, before)]
        if not dry_run:
            blobs.erase_now(orphans)
        total += len(orphans)
    return total


def purge_media(*, dry_run: bool = False) -> int:
    """Images whose run ended without a word, a day ago or longer."""
    return erase(unused(timezone.now() - timedelta(days=1)), dry_run=dry_run)


def purge_idempotency_keys(*, dry_run: bool = False) -> int:
    """Keys of requests that count no more."""
    return erase(outdated(), dry_run=dry_run)


def purge_responses(*, dry_run: bool = False) -> int:
    """The content of responses whose chain was not used for GATEWAY_RESPONSE_DAYS."""
    if not conf.RESPONSE_DAYS:
        return 0
    oldest = timezone.now() - timedelta(days=conf.RESPONSE_DAYS)
    rows: QuerySet[Response] = Response.objects.filter(
        kept=True, deleted_at=None, root__used_at__lt=oldest
    ).exclude(status__in=RUNNING)
    if dry_run:
        return rows.count()
    total = 0
    while batch := list(rows.values_list("pk", "project_id")[:BATCH]):
        for response_id, project_id in batch:
            with suppress(ResponseNotFound):  # somebody else was faster
                delete_response(response_id, project_id=project_id)
                total += 1
    return total
