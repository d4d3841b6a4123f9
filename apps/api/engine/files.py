"""Uploaded files and containers, in the API's terms: bytes to the storage, rows to the database.

Whatever is done with a container keeps it alive, but for finding it in a list.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import IO

import structlog

from apps.api.engine.failures import database_needed
from apps.api.errors import InvalidRequest, NotFound, Unavailable
from apps.api.protocol.ids import new_id
from apps.store import blobs, containers, files
from apps.store.db import in_thread, in_writer
from apps.store.errors import (
    ContainerExpired,
    ContainerMoved,
    ContainerNotFound,
    FileNotFound,
    StorageUnavailable,
    StoreUnavailable,
    UnknownCursor,
)
from apps.store.snapshots import (
    ContainerPage,
    FilePage,
    StoredContainer,
    StoredContainerFile,
    StoredFile,
)
from apps.tools import container_files
from apps.tools.base import ToolUnavailable
from apps.tools.code_interpreter.configuration import memory_problem
from apps.tools.code_interpreter.dispatch import nodes
from apps.tools.code_interpreter.setup import hosts_sandboxes
from apps.tools.container_files import FileRefused

log = structlog.stdlib.get_logger(__name__)


@contextmanager
def translated() -> Iterator[None]:
    """The store's errors in the API's terms: NotFound, InvalidRequest, Unavailable."""
    try:
        with database_needed():
            yield
    except FileNotFound as exc:
        raise NotFound(f"No such File object: {exc}", param="id") from exc
    except ContainerNotFound as exc:
        raise NotFound(f"No such container or file in it: {exc}", param="id") from exc
    except ContainerExpired as exc:
        raise InvalidRequest(
            f"The container '{exc}' has expired.", code="container_expired", param="container_id"
        ) from exc
    except ContainerMoved as exc:
        raise InvalidRequest(
            f"The container '{exc}' is held by another node.", code="container_moved", status=409
        ) from exc
    except FileRefused as exc:
        raise InvalidRequest(str(exc), code="invalid_value", param="file") from exc
    except UnknownCursor as exc:
        raise InvalidRequest(
            f"Nothing in the list has the id '{exc}'.", code="invalid_value", param="after"
        ) from exc
    except StorageUnavailable as exc:
        raise Unavailable(str(exc)) from exc


# --- Files ----------------------------------------------------------------------------------------


async def upload(
    content: IO[bytes],
    *,
    project_id: int,
    filename: str,
    purpose: str,
    size: int,
    expires_at: datetime | None,
) -> StoredFile:
    """Keep a file. Raises Unavailable."""
    with translated():
        blob = await blobs.write(content, folder=str(project_id))
        try:
            return await in_writer(
                files.add_file,
                new_id("file").replace("_", "-", 1),
                project_id=project_id,
                filename=filename,
                purpose=purpose,
                size=size,
                blob=blob,
                expires_at=expires_at,
            )
        except StoreUnavailable:
            await blobs.erase([blob])
            raise


async def get(file_id: str, *, project_id: int) -> StoredFile:
    """Raises NotFound, Unavailable."""
    with translated():
        return await in_thread(files.get_file, file_id, project_id=project_id)


async def list_all(
    *, project_id: int, purpose: str | None, after: str | None, limit: int, newest_first: bool
) -> FilePage:
    """Raises InvalidRequest, Unavailable."""
    with translated():
        return await in_thread(
            files.list_files,
            project_id=project_id,
            purpose=purpose,
            after=after,
            limit=limit,
            newest_first=newest_first,
        )


async def delete(file_id: str, *, project_id: int) -> None:
    """Raises NotFound, Unavailable."""
    with translated():
        await blobs.erase([await in_writer(files.delete_file, file_id, project_id=project_id)])


async def content_of(blob: str) -> IO[bytes]:
    """The bytes, to be closed. Raises Unavailable."""
    with translated():
        return await blobs.read(blob)


async def read(file_id: str, *, project_id: int, largest: int) -> tuple[StoredFile, bytes]:
    """A file with its bytes, if it is not larger than that. Raises NotFound, InvalidRequest,
    Unavailable."""
    found = await get(file_id, project_id=project_id)
    if found.size > largest:
        raise InvalidRequest(
            f"The file '{file_id}' is larger than {largest} bytes.", code="file_too_large"
        )
    with closing(await content_of(found.blob)) as content:
        return found, await asyncio.to_thread(content.read)


# --- Containers -----------------------------------------------------------------------------------


async def create_container(
    *, project_id: int, name: str, memory_limit: str, idle_minutes: int
) -> StoredContainer:
    """Raises InvalidRequest, Unavailable."""
    if (problem := memory_problem(memory_limit)) is not None:
        raise InvalidRequest(problem, code="unsupported_value", param="memory_limit")
    with translated():
        return await in_writer(
            containers.create_container,
            new_id("cntr"),
            project_id=project_id,
            name=name,
            memory_limit=memory_limit,
            idle_minutes=idle_minutes,
        )


async def get_container(container_id: str, *, project_id: int) -> StoredContainer:
    """A container, also one that has expired. Raises NotFound, Unavailable."""
    with translated():
        return await in_writer(containers.touch_container, container_id, project_id=project_id)


async def list_containers(
    *, project_id: int, name: str | None, after: str | None, limit: int, newest_first: bool
) -> ContainerPage:
    """Raises InvalidRequest, Unavailable."""
    with translated():
        return await in_thread(
            containers.list_containers,
            project_id=project_id,
            name=name,
            after=after,
            limit=limit,
            newest_first=newest_first,
        )


async def delete_container(container_id: str, *, project_id: int) -> None:
    """Ends what runs in it, too. Raises NotFound, Unavailable."""
    with translated():
        await blobs.erase(
            await in_writer(containers.delete_container, container_id, project_id=project_id)
        )
    if not hosts_sandboxes():
        return
    try:
        await nodes().discard(container_id)
    except ToolUnavailable as exc:  # then there is no interpreter either, or it leaves when idle
        log.info("interpreter not ended", container_id=container_id, reason=str(exc))


# --- Files in containers --------------------------------------------------------------------------


async def container_page(
    container_id: str, *, project_id: int, after: str | None, limit: int, newest_first: bool
) -> tuple[list[StoredContainerFile], bool]:
    """Files of a container by time, and whether there are more. Raises NotFound, InvalidRequest,
    Unavailable."""
    with translated():
        await in_writer(containers.use_container, container_id, project_id=project_id)
        found = await in_thread(containers.container_files, container_id, project_id=project_id)
        found.sort(key=lambda file: (file.created_at, file.id), reverse=newest_first)
        ids = [file.id for file in found]
        if after is not None and after not in ids:
            raise UnknownCursor(after)
        start = 0 if after is None else ids.index(after) + 1
        return found[start : start + limit], len(found) > start + limit


async def container_file(
    container_id: str, file_id: str, *, project_id: int
) -> StoredContainerFile:
    """Raises NotFound, InvalidRequest, Unavailable."""
    with translated():
        await in_writer(containers.use_container, container_id, project_id=project_id)
        return await in_thread(
            containers.get_container_file, container_id, file_id, project_id=project_id
        )


async def put_container_file(
    content: IO[bytes], *, container_id: str, project_id: int, filename: str
) -> StoredContainerFile:
    """Put a file of the user's into a container. Raises NotFound, InvalidRequest, Unavailable."""
    with translated():
        return await container_files.put(
            content,
            container_id=container_id,
            project_id=project_id,
            path=filename,
            source="user",
        )


async def put_made_file(
    content: IO[bytes], *, container_id: str, project_id: int, path: str, epoch: int
) -> StoredContainerFile:
    """Keep a file that code made, on behalf of the node of this epoch. Raises NotFound,
    InvalidRequest, Unavailable."""
    with translated():
        return await container_files.put(
            content,
            container_id=container_id,
            project_id=project_id,
            path=path,
            source="assistant",
            epoch=epoch,
        )


async def copy_to_container(
    file_id: str, *, container_id: str, project_id: int
) -> StoredContainerFile:
    """Put an uploaded file into a container. Raises NotFound, InvalidRequest, Unavailable."""
    found = await get(file_id, project_id=project_id)
    with closing(await content_of(found.blob)) as content:
        return await put_container_file(
            content, container_id=container_id, project_id=project_id, filename=found.filename
        )


async def delete_container_file(container_id: str, file_id: str, *, project_id: int) -> None:
    """Raises NotFound, InvalidRequest, Unavailable."""
    found = await container_file(container_id, file_id, project_id=project_id)
    with translated():
        await blobs.erase(
            [
                await in_writer(
                    containers.delete_container_file,
                    container_id,
                    found.id,
                    project_id=project_id,
                )
            ]
        )
