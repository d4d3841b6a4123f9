"""The folder in which the processes of one ``serve`` add up what they count.

It lies in the data folder and lasts as long as ``serve``. What a ``serve`` left that was killed is
removed by the next one; what another one uses is left alone.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "lock"


@contextmanager
def numbers_folder(data_dir: Path) -> Iterator[Path]:
    """A new, empty folder."""
    root = data_dir / "metrics"
    root.mkdir(parents=True, exist_ok=True)
    with (root / LOCK).open("w") as entry:
        fcntl.flock(entry, fcntl.LOCK_EX)  # one comes at a time
        for left in root.iterdir():
            if left.is_dir() and not _is_used(left):
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(dir=root))
        own = (folder / LOCK).open("w")
        fcntl.flock(own, fcntl.LOCK_EX)
    try:
        with own:
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_used(folder: Path) -> bool:
    try:
        with (folder / LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
