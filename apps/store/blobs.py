"""The bytes of files, in Django's file storage. Rows hold the names of blobs, nobody else does.

A blob is written before its row and erased after it: what is left by a crash in between is a blob
without a row, never a row without its bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
from collections.abc import AsyncGenerator, Iterable, Iterator
from datetime import datetime
from typing import IO, Any

import structlog
from django.core.files.base import File as DjangoFile
from django.core.files.storage import Storage, storages

from apps.store.errors import StorageUnavailable

log = structlog.stdlib.get_logger(__name__)

PIECE = 256 * 1024
PROJECT, CONTAINER = re.compile(r"[0-9]+"), re.compile(r"cntr_\w+")
BLOB, NOTHING = re.compile(r"[0-9a-f]{32}"), re.compile(r"(?!)")


def storage() -> Storage:
    """Where the bytes are: the data directory, or object storage."""
    return storages["files"]


# Each kind of storage fails with exceptions of its own library: all of them are translated here.


async def write(content: IO[bytes], *, folder: str) -> str:
    """Store the bytes, from their beginning, under a name that nobody can guess. Gives the name.
    Raises StorageUnavailable."""
    return await asyncio.to_thread(write_now, content, folder=folder)


def write_now(content: IO[bytes], *, folder: str) -> str:
    """``write``, for who has a thread of its own."""
    name = f"{folder}/{secrets.token_hex(16)}"
    try:
        content.seek(0)
        kept = content if isinstance(content, DjangoFile) else DjangoFile(content)
        return storage().save(name, kept)
    except Exception as exc:
        log.error("bytes not stored", blob=name, error=str(exc))
        raise StorageUnavailable("The file storage cannot be written to.") from exc


async def read(name: str) -> IO[bytes]:
    """The bytes, to be closed. Raises StorageUnavailable, also where they are lost."""
    return await asyncio.to_thread(open_now, name)


def open_now(name: str) -> IO[bytes]:
    """``read``, for who has a thread of its own."""
    try:
        found: Any = storage().open(name, "rb")
    except Exception as exc:
        log.error("bytes cannot be read", blob=name, error=str(exc))
        raise StorageUnavailable("The file's content cannot be read.") from exc
    return found  # type: ignore[no-any-return]


async def pieces(content: IO[bytes]) -> AsyncGenerator[bytes, None]:
    """The bytes that were opened, read off the event loop; closed at the end."""
    try:
        while piece := await asyncio.to_thread(content.read, PIECE):
            yield piece
    finally:
        content.close()


def stored_now() -> Iterator[str]:
    """The names of all blobs; what is not named like one is somebody else's. Raises
    StorageUnavailable."""
    for project in _listed("", PROJECT)[0]:
        containers, names = _listed(project, CONTAINER)
        yield from names
        for container in containers:
            yield from _listed(container, NOTHING)[1]


def _listed(folder: str, inner: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """The folders within that are called like this, and the blobs."""
    try:
        folders, names = storage().listdir(folder)
    except FileNotFoundError:  # nothing was stored yet, or it went a moment ago
        return [], []
    except Exception as exc:
        raise StorageUnavailable("The file storage cannot be listed.") from exc
    start = f"{folder}/" if folder else ""
    return (
        [f"{start}{name}" for name in folders if inner.fullmatch(name)],
        [f"{start}{name}" for name in names if BLOB.fullmatch(name)],
    )


def is_older_now(name: str, time: datetime) -> bool:
    """Whether a blob is older than this; False for one that has gone. Raises StorageUnavailable."""
    try:
        return storage().get_modified_time(name) < time
    except Exception as exc:
        # Storages have no error in common for what is not there.
        with contextlib.suppress(Exception):
            if not storage().exists(name):
                return False
        raise StorageUnavailable("The file storage cannot be read.") from exc


async def erase(names: Iterable[str]) -> None:
    """Erase what rows refer to no more, also when the caller is cancelled."""
    await asyncio.shield(asyncio.to_thread(erase_now, list(names)))


def erase_now(names: Iterable[str]) -> None:
    """``erase``, for who has a thread of its own. What is not there is erased already; what
    cannot be erased stays, and nobody refers to it."""
    for name in names:
        try:
            storage().delete(name)
        except Exception as exc:
            log.warning("bytes not erased", blob=name, error=str(exc))
