"""Containers and their files. Plain synchronous functions, each one transaction.

Expiry is a matter of the clock, not of a sweep: who reads a container sees what it is. What an
expired one held is erased later, in batches.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models import Count, QuerySet, Sum
from django.utils import timezone

from apps.store.errors import (
    ContainerExpired,
    ContainerFull,
    ContainerMoved,
    ContainerNotFound,
)
from apps.store.models import CodeCall, Container, ContainerFile
from apps.store.paging import by_time
from apps.store.snapshots import (
    CodeRun,
    ContainerPage,
    Room,
    StoredContainer,
    StoredContainerFile,
)

FILE_COLUMNS = ("id", "container_id", "path", "size", "source", "blob", "created_at", "sha256")


def _live(project_id: int) -> QuerySet[Container]:
    return Container.objects.filter(project_id=project_id, deleted_at=None)


def _snapshot(row: Container) -> StoredContainer:
    return StoredContainer(
        id=row.pk,
        project_id=row.project_id,
        name=row.name,
        memory_limit=row.memory_limit,
        idle_minutes=row.idle_minutes,
        created_at=row.created_at,
        last_active_at=row.last_active_at,
        expired=row.expires_at <= timezone.now(),
        node=row.node,
        epoch=row.epoch,
    )


# --- Containers -----------------------------------------------------------------------------------


def create_container(
    container_id: str, *, project_id: int, name: str, memory_limit: str, idle_minutes: int
) -> StoredContainer:
    """Make a container, which has no interpreter yet."""
    now = timezone.now()
    row = Container.objects.create(
        id=container_id,
        project_id=project_id,
        name=name,
        memory_limit=memory_limit,
        idle_minutes=idle_minutes,
        created_at=now,
        last_active_at=now,
        expires_at=now + timedelta(minutes=idle_minutes),
    )
    return _snapshot(row)


def get_container(container_id: str, *, project_id: int) -> StoredContainer:
    """Look at a container, which does not keep it alive. Raises ContainerNotFound."""
    row = _live(project_id).filter(pk=container_id).first()
    if row is None:
        raise ContainerNotFound(container_id)
    return _snapshot(row)


def touch_container(
    container_id: str, *, project_id: int, epoch: int | None = None
) -> StoredContainer:
    """Look at a container, which keeps it alive unless it has expired; with an epoch, unless a
    later node holds it. Raises ContainerNotFound, ContainerMoved."""
    found = get_container(container_id, project_id=project_id)
    now = timezone.now()
    live = _live(project_id).filter(pk=container_id, expires_at__gt=now)
    if epoch is not None:  # judged by the row as it is when it is written
        live = live.filter(epoch__lte=epoch)
    expires_at = now + timedelta(minutes=found.idle_minutes)
    if live.update(last_active_at=now, expires_at=expires_at):
        return found._replace(last_active_at=now, expired=False)
    found = get_container(container_id, project_id=project_id)
    if epoch is not None and epoch < found.epoch:
        raise ContainerMoved(container_id)
    return found._replace(expired=True)


def use_container(
    container_id: str, *, project_id: int, epoch: int | None = None
) -> StoredContainer:
    """Take a container into use, which keeps it alive; with an epoch, on behalf of the node that
    held it then. Raises ContainerNotFound, ContainerExpired, ContainerMoved."""
    found = touch_container(container_id, project_id=project_id, epoch=epoch)
    if found.expired:
        raise ContainerExpired(container_id)
    return found


def list_containers(
    *, project_id: int, name: str | None, after: str | None, limit: int, newest_first: bool
) -> ContainerPage:
    """Raises UnknownCursor."""
    rows = by_time(_live(project_id), after=after, newest_first=newest_first)
    if name is not None:
        rows = rows.filter(name=name)
    found = [_snapshot(row) for row in rows[: limit + 1]]
    return ContainerPage(found[:limit], len(found) > limit)


@transaction.atomic
def delete_container(container_id: str, *, project_id: int) -> list[str]:
    """Delete a container. Gives the blobs of its files, to be erased. Raises
    ContainerNotFound."""
    if not _live(project_id).filter(pk=container_id).update(deleted_at=timezone.now()):
        raise ContainerNotFound(container_id)
    return _empty([container_id])


def expire_containers(container_ids: list[str]) -> int:
    """Let containers expire now. Gives how many had not yet."""
    now = timezone.now()
    live = Container.objects.filter(deleted_at=None, expires_at__gt=now)
    return live.filter(pk__in=container_ids).update(expires_at=now)


def note_node(container_id: str, *, node: str, epoch: int) -> None:
    """Which node holds the container's interpreter. What is older than is known changes nothing."""
    Container.objects.filter(pk=container_id, epoch__lte=epoch).update(node=node, epoch=epoch)


@transaction.atomic
def empty_expired(limit: int) -> list[str]:
    """Forget the files of containers that have expired, at most so many containers. Gives their
    blobs, to be erased."""
    rows = Container.objects.filter(
        emptied_at=None, deleted_at=None, expires_at__lte=timezone.now()
    )
    expired = list(rows.order_by("expires_at").values_list("pk", flat=True)[:limit])
    Container.objects.filter(pk__in=expired).update(emptied_at=timezone.now())
    return _empty(expired)


def _empty(container_ids: list[str]) -> list[str]:
    rows = ContainerFile.objects.filter(container_id__in=container_ids)
    blobs = list(rows.values_list("blob", flat=True))
    rows.delete()
    return blobs


# --- Files ----------------------------------------------------------------------------------------


@transaction.atomic
def put_container_file(
    file_id: str,
    *,
    container_id: str,
    project_id: int,
    path: str,
    size: int,
    sha256: str,
    source: str,
    blob: str,
    most: Room,
    epoch: int | None = None,
) -> tuple[StoredContainerFile, list[str]]:
    """Keep a file whose bytes are stored already. A file of the same path keeps its id, and its
    old blob is given back, to be erased. Raises ContainerFull, and what ``use_container`` does."""
    # The container's row is written first: whoever puts into it, or deletes it, waits here.
    use_container(container_id, project_id=project_id, epoch=epoch)
    _check_room(container_id, path, size, most)
    values = {"size": size, "sha256": sha256, "source": source, "blob": blob}
    row = ContainerFile.objects.filter(container_id=container_id, path=path).first()
    if row is None:
        row = ContainerFile.objects.create(
            id=file_id,
            container_id=container_id,
            path=path,
            created_at=timezone.now(),
            **values,
        )
        return _file(row), []
    old = row.blob
    for name, value in values.items():
        setattr(row, name, value)
    row.save(update_fields=list(values))
    return _file(row), [old]


def _check_room(container_id: str, path: str, size: int, most: Room) -> None:
    others = ContainerFile.objects.filter(container_id=container_id).exclude(path=path)
    held = others.aggregate(files=Count("pk"), size=Sum("size", default=0))
    if held["files"] >= most.files:
        raise ContainerFull(f"A container has at most {most.files} files.")
    if held["size"] + size > most.size:
        raise ContainerFull(f"The files of a container have at most {most.size} bytes together.")


def _file(row: ContainerFile) -> StoredContainerFile:
    return StoredContainerFile(*(getattr(row, column) for column in FILE_COLUMNS))


def container_files(container_id: str, *, project_id: int) -> list[StoredContainerFile]:
    """All files of a container by their paths. Raises ContainerNotFound."""
    get_container(container_id, project_id=project_id)
    rows = ContainerFile.objects.filter(container_id=container_id).order_by("path")
    return [StoredContainerFile(*row) for row in rows.values_list(*FILE_COLUMNS)]


def get_container_file(container_id: str, file_id: str, *, project_id: int) -> StoredContainerFile:
    """Raises ContainerNotFound."""
    rows = ContainerFile.objects.filter(
        pk=file_id,
        container_id=container_id,
        container__project_id=project_id,
        container__deleted_at=None,
    )
    row = rows.values_list(*FILE_COLUMNS).first()
    if row is None:
        raise ContainerNotFound(file_id)
    return StoredContainerFile(*row)


def delete_container_file(container_id: str, file_id: str, *, project_id: int) -> str:
    """Forget a file. Gives its blob, to be erased. Raises ContainerNotFound."""
    found = get_container_file(container_id, file_id, project_id=project_id)
    ContainerFile.objects.filter(pk=found.id).delete()
    return found.blob


@transaction.atomic
def remove_path(container_id: str, *, project_id: int, path: str, epoch: int) -> list[str]:
    """Forget the file at a path. Gives its blob, to be erased. Raises what ``use_container``
    does."""
    use_container(container_id, project_id=project_id, epoch=epoch)
    rows = ContainerFile.objects.filter(container_id=container_id, path=path)
    removed = list(rows.values_list("blob", flat=True))
    rows.delete()
    return removed


# --- Calls ----------------------------------------------------------------------------------------


def record_code_run(run: CodeRun) -> None:
    """Note what was run, for operators to see. A run that is noted already stays as it is."""
    CodeCall.objects.bulk_create(
        [
            CodeCall(
                id=run.id,
                container_id=run.container_id,
                response_id=run.response_id,
                node=run.node,
                code=run.code,
                output=run.output,
                outcome=run.outcome,
                duration_ms=run.duration_ms,
                created_at=timezone.now(),
            )
        ],
        ignore_conflicts=True,
    )
