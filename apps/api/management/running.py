"""What a ``serve`` that runs tells the other commands on its data folder: which upstream it has.

That may be a child of its own, or an option of its command line, which no setting knows.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAME = "upstream"


@contextmanager
def upstream_told(data_dir: Path, url: str) -> Iterator[None]:
    """Tell it for as long as this lasts; of several on one folder, the first tells its own."""
    with (data_dir / NAME).open("a+") as file:
        try:
            # The lock ends with the process, whatever ends that.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass
        else:
            file.truncate(0)
            file.write(url)
            file.flush()
        yield


def upstream_of_running(data_dir: Path) -> str | None:
    """Its URL, which ends in /v1; None where no ``serve`` runs, or another user's."""
    try:
        with (data_dir / NAME).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read() or None
    except (FileNotFoundError, PermissionError):
        pass
    return None
