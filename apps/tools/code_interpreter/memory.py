"""How the process that keeps interpreters allocates."""

from __future__ import annotations

import contextlib
import ctypes

M_MMAP_THRESHOLD = -3
LARGE = 1 << 20


def give_back_large_blocks() -> None:
    """Snapshots are tens of megabytes, and any thread may receive one. With glibc's moving
    threshold, each thread would keep the room of its last one; blocks of a fixed size and more go
    back to the system when they are freed."""
    with contextlib.suppress(AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE)
