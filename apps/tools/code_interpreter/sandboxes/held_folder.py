"""Folders on the disk that belong to one process, and go with it.

A process that is killed removes nothing. Whoever makes a folder beside it finds that nobody holds
its lock, which the kernel lets go of whatever happens. A process id would not tell: it is given to
others later, and says nothing in another container that has the same disk.
"""

from __future__ import annotations

import fcntl
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

LOCK = ".lock"


class HeldFolder:
    """A new folder below ``parent``, ``path``, with a name that nobody can guess. Raises OSError."""

    def __init__(self, parent: Path) -> None:
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(parent):  # else a folder could be found before it is held
            _remove_abandoned(parent)
            self.path = parent / secrets.token_hex(8)
            self.path.mkdir(mode=0o700)
            self._lock = _open_lock(self.path)
            fcntl.flock(self._lock, fcntl.LOCK_EX)

    def close(self) -> None:
        """Remove it with all that is in it. May be called twice."""
        remove(self.path)
        self._lock.close()


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.iterdir():
        # What cannot be locked is held, or somebody else's.
        with suppress(OSError), _open_lock(folder) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove(folder)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with _open_lock(folder) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _open_lock(folder: Path) -> IO[bytes]:
    return open(folder / LOCK, "wb")


def remove(folder: Path) -> None:
    """However deep it is, and whatever modes code gave to folders in it. Nobody may be using it.
    Where the kernel makes no process, what is too hard for Python stays for a later time."""
    try:
        for command in (["rm", "-rf"], ["chmod", "-R", "u+rwx"], ["rm", "-rf"]):
            if folder.exists():
                subprocess.run([*command, "--", folder], capture_output=True)  # noqa: S603 - as it says
    except OSError:
        with suppress(RecursionError):
            shutil.rmtree(folder, ignore_errors=True)
