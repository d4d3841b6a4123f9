"""The files of a native session, on the host's disk: code may put anything there, links and pipes too.

Every access goes from the folder's own descriptor, component by component, and follows no link.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.sandboxes.held_folder import remove

CHUNK = 1 << 20
DEEPEST = 32
SLACK = 16 << 20  # a small file takes a whole block
MOST_ENTRIES = 20_000  # looked at in one listing, whatever they are
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _TooMuch(Exception):
    """There is more than is looked at."""


class WorkFolder:
    """``folder`` has data/, which is /mnt/data to the code, and tmp/."""

    def __init__(self, folder: Path, limits: sb.Limits) -> None:
        self.folder, self.limits = folder, limits
        self.root = os.open(folder / "data", DIRECTORY)
        self._tmp = os.open(folder / "tmp", DIRECTORY)

    def put(self, path: str, chunks: Iterable[bytes]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with self._parent(path, make=True) as (parent, name):
                file = os.open(name, flags, 0o644, dir_fd=parent)
                with open(file, "wb") as out:
                    if not stat.S_ISREG(os.fstat(file).st_mode):
                        raise sb.FilesRefused(f"{path} is no file")
                    out.writelines(chunks)
        except OSError as exc:
            raise sb.FilesRefused(f"{path} cannot be written: {exc.strerror}") from exc

    def get(self, path: str) -> Iterator[bytes]:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            with self._parent(path) as (parent, name):
                file = os.open(name, flags, dir_fd=parent)
        except OSError as exc:
            raise FileNotFoundError(path) from exc
        with open(file, "rb") as source:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise FileNotFoundError(path)
            while chunk := source.read(CHUNK):
                yield chunk

    def delete(self, path: str) -> None:
        with suppress(OSError), self._parent(path) as (parent, name):
            os.unlink(name, dir_fd=parent)

    def list(self) -> tuple[list[sb.FileInfo], int]:
        files: list[sb.FileInfo] = []
        dropped = 0
        for path, info in self._walk(self.root):
            if not stat.S_ISREG(info.st_mode):
                continue
            if len(files) < self.limits.files_count:
                version = f"{info.st_ino}-{info.st_size}-{info.st_mtime_ns}-{info.st_ctime_ns}"
                files.append(sb.FileInfo(path, info.st_size, version))
            else:
                dropped += info.st_size
        return files, dropped

    def exceeded(self) -> bool:
        """Whether the disk holds far more than it may, or more than can be looked at: a limit for
        each file alone is none."""
        try:
            blocks = sum(
                info.st_blocks
                for root in (self.root, self._tmp)
                for _, info in self._walk(root, whole=True)
            )
        except (_TooMuch, OSError):
            return True
        return blocks * 512 > 2 * self.limits.files_bytes + SLACK

    def close(self) -> None:
        os.close(self.root)
        os.close(self._tmp)
        remove(self.folder)

    def _walk(self, root: int, *, whole: bool = False) -> Iterator[tuple[str, os.stat_result]]:
        """What is no folder. What lies too deep, comes too late or cannot be opened is left out;
        raises _TooMuch or OSError instead when ``whole``."""

        def give_up(exc: OSError) -> None:
            if whole and not isinstance(exc, FileNotFoundError):  # it was there a moment ago
                raise exc

        seen = 0
        for place, folders, names, handle in os.fwalk(".", dir_fd=root, onerror=give_up):
            too_deep = bool(folders) and place.count("/") >= DEEPEST
            if whole and (too_deep or seen + len(folders) + len(names) > MOST_ENTRIES):
                raise _TooMuch
            seen += len(folders)
            if too_deep:
                folders.clear()
            for name in names:
                if (seen := seen + 1) > MOST_ENTRIES:
                    return
                with suppress(OSError):
                    info = os.stat(name, dir_fd=handle, follow_symlinks=False)
                    yield _readable(f"{place}/{name}"[2:]), info

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """The descriptor of a file's folder, and its name there. Raises OSError."""
        *folders, name = path.split("/")
        handle = os.dup(self.root)
        try:
            for folder in folders:
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(folder, dir_fd=handle)
                inner = os.open(folder, DIRECTORY, dir_fd=handle)
                os.close(handle)
                handle = inner
            yield handle, name
        finally:
            os.close(handle)


def _readable(path: str) -> str:
    return path.encode("utf-8", "replace").decode("utf-8", "replace")
