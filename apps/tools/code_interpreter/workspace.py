"""One container as the gateway has it: its row and its files, in one run.

The id is known from the start, since clients and the model are told of it; the row is made by the
first call that runs.
"""

from __future__ import annotations

import io
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import closing
from typing import IO

import structlog

from apps.store import blobs, containers, files
from apps.store.conf import conf as store_conf
from apps.store.db import in_thread, in_writer
from apps.store.errors import (
    ContainerExpired,
    ContainerMoved,
    ContainerNotFound,
    FileNotFound,
    StorageUnavailable,
    StoreUnavailable,
)
from apps.store.snapshots import CodeRun, StoredContainer, StoredContainerFile, StoredFile
from apps.tools import container_files
from apps.tools.base import Artifact, FilesRefused, GivenFile, RunInfo, ToolRefused, ToolUnavailable
from apps.tools.code_interpreter.calls import FileRef, FileSaved, TransferFailed
from apps.tools.code_interpreter.declaration import Wanted
from apps.tools.conf import conf
from apps.tools.container_files import FileRefused
from apps.tools.signed_urls import ContainerGrant, signed_path

log = structlog.stdlib.get_logger(__name__)

ADDRESS_S = 3600.0
"""How long a worker may use the address of a call's files: longer than any call."""
AWAY = "The database cannot be reached."


class Unusable(Exception):
    """The container cannot be used any more; the message is for the model and the client."""


async def open_workspace(wanted: Wanted, run: RunInfo) -> Workspace:
    """The container that is asked for, or the one of the conversation, or one to be made. Raises
    ToolRefused, FilesRefused, ToolUnavailable."""
    try:
        found = await _find(wanted, run)
        uploads = [await _upload(i, each, run) for i, each in enumerate(wanted.file_ids)]
        _check_room(uploads)
        held = await _files(found, run.project_id) if found is not None else []
    except StoreUnavailable as exc:
        raise ToolUnavailable(AWAY) from exc
    workspace = Workspace(run, wanted, found, uploads, held)
    workspace.check_room()
    return workspace


async def _find(wanted: Wanted, run: RunInfo) -> StoredContainer | None:
    """The container there is; None where one is to be made."""
    container_id = wanted.container_id or run.container_id
    if container_id is None:
        return None
    try:
        found = await in_thread(containers.get_container, container_id, project_id=run.project_id)
    except ContainerNotFound as exc:
        if wanted.container_id is None:
            return None
        raise ToolRefused(f"There is no container '{exc}'.", param="container") from exc
    if not found.expired:
        return found
    if wanted.container_id is None:
        return None
    raise ToolRefused(
        f"The container '{container_id}' has expired: leave it to be made anew with "
        "{'type': 'auto'}.",
        param="container",
    )


async def _upload(position: int, file_id: str, run: RunInfo) -> StoredFile:
    try:
        return await in_thread(files.get_file, file_id, project_id=run.project_id)
    except FileNotFound as exc:
        raise ToolRefused(
            f"There is no file '{exc}'.", param=f"container.file_ids[{position}]"
        ) from exc


def _check_room(uploads: Sequence[StoredFile]) -> None:
    """What can never be put into a container is no matter for the model to hear of."""
    most = container_files.room()
    size = sum(upload.size for upload in uploads)
    if len(uploads) > most.files or size > most.size:
        raise ToolRefused(
            f"The files have {size} bytes in all. A container holds at most {most.files} files "
            f"and {most.size} bytes.",
            param="container.file_ids",
        )


async def _files(container: StoredContainer, project_id: int) -> list[StoredContainerFile]:
    try:
        return await in_thread(containers.container_files, container.id, project_id=project_id)
    except ContainerNotFound:  # it was deleted a moment ago
        return []


class Workspace:
    """The container of one run. Its files travel through here: it is a ``ContainerFiles``."""

    def __init__(
        self,
        run: RunInfo,
        wanted: Wanted,
        found: StoredContainer | None,
        uploads: Sequence[StoredFile],
        held: Sequence[StoredContainerFile],
    ) -> None:
        self.id = found.id if found is not None else _new_id()
        self.memory_limit = found.memory_limit if found is not None else wanted.memory_limit
        self._run, self._uploads = run, uploads
        self._made = found is not None
        self._files = [file for file in run.files if self.id not in file.containers]
        self._put: set[str] = set()
        self._placed = (found.node, found.epoch) if found is not None else ("", 0)
        self._refs = {file.id: file for file in held}

    # --- Before the first call --------------------------------------------------------------------

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """The files that the container holds."""
        return tuple(
            Artifact(id=file.id, container_id=self.id, path=file.path, size=file.size)
            for file in self._refs.values()
        )

    @property
    def given(self) -> list[str]:
        """The paths of the user's files, there or about to be: these stay the same for long."""
        there = [file.path for file in self._refs.values() if file.source == "user"]
        return sorted({*there, *map(_path, self._uploads), *map(_path, self._files)})

    def check_room(self) -> None:
        """Whether the input's files fit beside what there is, and what was asked for. Raises
        FilesRefused."""
        if not self._files:
            return
        if max(file.size for file in self._files) > store_conf.FILE_BYTES:
            raise FilesRefused(
                f"A file of a container has at most {store_conf.FILE_BYTES} bytes "
                "(GATEWAY_FILE_BYTES)."
            )
        sizes = {_path(upload): upload.size for upload in self._uploads}
        sizes |= {file.path: file.size for file in self._refs.values()}
        sizes |= {_path(file): file.size for file in self._files}
        most = container_files.room()
        if len(sizes) > most.files or sum(sizes.values()) > most.size:
            raise FilesRefused(
                f"With the files of the input the container would hold {len(sizes)} files with "
                f"{sum(sizes.values())} bytes in all. A container holds at most {most.files} files "
                f"and {most.size} bytes."
            )

    # --- Calls ------------------------------------------------------------------------------------

    async def prepare(self) -> tuple[int, tuple[FileRef, ...]]:
        """Make or refresh the container, with the files that were asked for. Gives its epoch and
        its files. Raises Unusable."""
        try:
            if not self._made:
                await self._make()
            row = await in_writer(
                containers.use_container, self.id, project_id=self._run.project_id
            )
            await self._put_uploads()
            await self._put_files()
            held = await in_thread(
                containers.container_files, self.id, project_id=self._run.project_id
            )
        except ContainerExpired as exc:
            raise Unusable(f"The container {self.id} has expired, and its files with it.") from exc
        except ContainerNotFound as exc:
            raise Unusable(f"The container {self.id} was deleted.") from exc
        except FileRefused as exc:
            raise Unusable(str(exc)) from exc
        except (StoreUnavailable, StorageUnavailable) as exc:
            raise Unusable("The container's files cannot be reached at the moment.") from exc
        self._placed = (row.node, row.epoch)
        self._refs = {file.id: file for file in held}
        return row.epoch, tuple(_ref(file) for file in held)

    async def _make(self) -> None:
        await in_writer(
            containers.create_container,
            self.id,
            project_id=self._run.project_id,
            name="",
            memory_limit=self.memory_limit,
            idle_minutes=store_conf.CONTAINER_IDLE_MINUTES,
        )
        self._made = True

    async def _put_uploads(self) -> None:
        """Put those there that are not; once in a run, so that code may change them."""
        there = {file.path for file in self._refs.values()}
        for upload in self._uploads:
            if upload.id not in self._put and _path(upload) not in there:
                with closing(await blobs.read(upload.blob)) as content:
                    await self._store(content, upload.filename, source_is_user=True)
            self._put.add(upload.id)

    async def _put_files(self) -> None:
        """Put the files of the conversation there that this container never had, in place of what
        has their names. Once in a run: code may change them."""
        there = {file.path: file.sha256 for file in self._refs.values()}
        while self._files:
            file = self._files[0]
            if there.get(_path(file)) != file.sha256 and (data := await file.read()) is not None:
                await self._store(io.BytesIO(data), file.name, source_is_user=True)
            self._files.pop(0)

    async def placed(self, node: str, epoch: int) -> None:
        """Note which node has the container now, for operators and against nodes of the past."""
        if (node, epoch) != self._placed:
            self._placed = (node, epoch)
            await in_writer(containers.note_node, self.id, node=node, epoch=epoch)

    async def record(self, run: CodeRun) -> None:
        """Note the call for operators."""
        await in_writer(containers.record_code_run, run)

    # --- ContainerFiles ---------------------------------------------------------------------------

    async def read(self, file_id: str) -> AsyncIterator[bytes]:
        if (file := self._refs.get(file_id)) is None:
            raise TransferFailed("there is no such file")
        try:
            content = await blobs.read(file.blob)
        except StorageUnavailable as exc:
            raise TransferFailed(str(exc)) from exc
        async for piece in blobs.pieces(content):
            yield piece

    async def write(self, path: str, content: IO[bytes], size: int) -> FileSaved:
        try:
            stored = await self._store(content, path)
        except (ContainerNotFound, ContainerExpired, ContainerMoved) as exc:
            raise TransferFailed("the container is gone") from exc
        except (FileRefused, StorageUnavailable) as exc:
            raise TransferFailed(str(exc)) from exc
        except StoreUnavailable as exc:
            raise TransferFailed(AWAY) from exc
        ref = _ref(stored)
        return FileSaved(ref.id, ref.path, ref.size, ref.version)

    async def remove(self, path: str, *, epoch: int) -> None:
        """Forget a file that code has deleted; what cannot be forgotten comes back later."""
        try:
            await container_files.remove(
                path, container_id=self.id, project_id=self._run.project_id, epoch=epoch
            )
        except (ContainerNotFound, ContainerExpired, ContainerMoved, FileRefused) as exc:
            log.info("file not forgotten", container=self.id, reason=type(exc).__name__)
        except StoreUnavailable as exc:
            log.warning("file not forgotten", container=self.id, reason=str(exc))

    def address(self, epoch: int) -> str:
        grant = ContainerGrant(self._run.project_id, self.id, epoch)
        return conf.INTERNAL_URL.rstrip("/") + signed_path(grant, seconds=ADDRESS_S)

    async def _store(
        self, content: IO[bytes], path: str, *, source_is_user: bool = False
    ) -> StoredContainerFile:
        return await container_files.put(
            content,
            container_id=self.id,
            project_id=self._run.project_id,
            path=path,
            source="user" if source_is_user else "assistant",
        )


def _path(file: StoredFile | GivenFile) -> str:
    name = file.name if isinstance(file, GivenFile) else file.filename
    return f"{container_files.DATA}/{name}"


def _ref(file: StoredContainerFile) -> FileRef:
    path = container_files.relative(file.path)
    return FileRef(id=file.id, path=path, size=file.size, version=file.sha256)


def _new_id() -> str:
    """Sorts by its time, as all ids do."""
    return f"cntr_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(18)}"
