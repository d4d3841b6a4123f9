"""Files into and out of containers, for whoever has one: a client, an interpreter on this
machine, a sandbox worker elsewhere."""

from __future__ import annotations

import asyncio
import hashlib
import os
import posixpath
import secrets
from typing import IO, Literal

from apps.store import blobs, containers
from apps.store.conf import conf
from apps.store.db import in_writer
from apps.store.errors import ContainerFull
from apps.store.snapshots import Room, StoredContainerFile
from apps.tools.conf import conf as tools_conf

DATA = "/mnt/data"
"""Where code finds the files of its container."""
LONGEST_PATH = 512


class FileRefused(Exception):
    """The path leads elsewhere, or there is too much. The message is for clients and models."""


def room() -> Room:
    """What fits into a container."""
    return Room(tools_conf.SANDBOX_FILES_COUNT, tools_conf.SANDBOX_FILES_BYTES)


def relative(path: str) -> str:
    """A path below /mnt/data, given from the root or from there, as seen from there. Raises
    FileRefused."""
    inside = path.removeprefix(f"{DATA}/")
    # A path that is written otherwise than it reads is no honest one.
    plain = bool(inside) and posixpath.normpath(inside) == inside and inside.isprintable()
    if not plain or inside.startswith(("/", "..")) or inside == ".":
        raise FileRefused(f"{path[:100]!r} is no path below {DATA}.")
    if len(f"{DATA}/{inside}") > LONGEST_PATH:
        raise FileRefused(f"The path has more than {LONGEST_PATH} characters.")
    return inside


async def put(
    content: IO[bytes],
    *,
    container_id: str,
    project_id: int,
    path: str,
    source: Literal["user", "assistant"],
    epoch: int | None = None,
) -> StoredContainerFile:
    """Make it a file of the container, in place of one at this path. With an epoch, only as long
    as no later node holds the container. Raises FileRefused, StorageUnavailable,
    ContainerNotFound, ContainerExpired, ContainerMoved, StoreUnavailable."""
    place = f"{DATA}/{relative(path)}"
    size, sha256 = await asyncio.to_thread(_measure, content)
    if size > conf.FILE_BYTES:
        raise FileRefused(f"The file is larger than {conf.FILE_BYTES} bytes (GATEWAY_FILE_BYTES).")
    await in_writer(containers.use_container, container_id, project_id=project_id, epoch=epoch)
    blob = await blobs.write(content, folder=f"{project_id}/{container_id}")
    try:
        stored, replaced = await in_writer(
            containers.put_container_file,
            f"cfile_{secrets.token_hex(24)}",
            container_id=container_id,
            project_id=project_id,
            path=place,
            size=size,
            sha256=sha256,
            source=source,
            blob=blob,
            most=room(),
            epoch=epoch,
        )
    except ContainerFull as exc:
        await blobs.erase([blob])
        raise FileRefused(str(exc)) from exc
    except Exception:
        await blobs.erase([blob])
        raise
    await blobs.erase(replaced)
    return stored


async def remove(path: str, *, container_id: str, project_id: int, epoch: int) -> None:
    """Forget the file at a path, as long as no later node holds the container. Raises
    FileRefused, ContainerNotFound, ContainerExpired, ContainerMoved, StoreUnavailable."""
    place = f"{DATA}/{relative(path)}"
    removed = await in_writer(
        containers.remove_path, container_id, project_id=project_id, path=place, epoch=epoch
    )
    await blobs.erase(removed)


def _measure(content: IO[bytes]) -> tuple[int, str]:
    content.seek(0)
    digest = hashlib.file_digest(content, "sha256").hexdigest()  # type: ignore[arg-type] # any file
    content.seek(0, os.SEEK_END)  # what is in memory was digested without moving
    size = content.tell()
    content.seek(0)
    return size, digest
