"""Variables of interpreters that have left, on the disk of their node.

A snapshot is memory that foreign code has written: it is kept and given back, never read.
"""

from __future__ import annotations

import contextlib
import zlib
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import structlog

from apps.tools.code_interpreter.sandboxes.held_folder import HeldFolder

log = structlog.stdlib.get_logger(__name__)

MOST_BYTES = 1 << 30
"""On the disk, for all containers; the oldest make room."""


class _File(NamedTuple):
    path: Path
    size: int


class Snapshots:
    """Those of one node, in a folder of its own below ``parent``. None are kept where there can be
    no folder."""

    def __init__(self, parent: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._files: dict[str, _File] = {}  # the oldest first
        self._lock = Lock()
        self._folder: HeldFolder | None = None
        try:
            self._folder = HeldFolder(parent)
        except OSError as exc:
            log.warning("variables of idle interpreters are not kept", reason=str(exc))

    def keep(self, container_id: str, snapshot: bytes | None) -> None:
        """Write it down, in place of an older one. A disk that is full loses it."""
        self.drop(container_id)
        if snapshot is None or self._folder is None:
            return
        packed = zlib.compress(snapshot, 1)
        if len(packed) > self._most:
            return
        # Ids are the gateway's own: letters, digits, an underscore.
        file = _File(self._folder.path / f"{container_id}.snapshot", len(packed))
        with self._lock:
            while sum(kept.size for kept in self._files.values()) + file.size > self._most:
                self._remove(next(iter(self._files)))
            self._files[container_id] = file
            try:
                file.path.write_bytes(packed)
            except OSError:
                self._remove(container_id)

    def take(self, container_id: str) -> bytes | None:
        """The snapshot, which is then no longer kept."""
        with self._lock:
            if container_id not in self._files:
                return None
            try:
                return zlib.decompress(self._files[container_id].path.read_bytes())
            except (OSError, zlib.error):
                return None
            finally:
                self._remove(container_id)

    def holds(self, container_id: str) -> bool:
        """Without waiting for one that is being read."""
        return container_id in self._files

    def drop(self, container_id: str) -> None:
        with self._lock:
            if container_id in self._files:
                self._remove(container_id)

    def close(self) -> None:
        """Remove them all; later ones are not kept."""
        with self._lock:
            self._files.clear()
            if self._folder is not None:
                self._folder.close()

    def _remove(self, container_id: str) -> None:
        with contextlib.suppress(OSError):
            self._files.pop(container_id).path.unlink()
