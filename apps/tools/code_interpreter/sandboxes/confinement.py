"""The second layer around an interpreter's process: what this kernel offers, and how to ask for it."""

from __future__ import annotations

import errno
import functools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apps.tools.code_interpreter import sandbox as sb

LAUNCHER = Path(__file__).with_name("launcher.py")
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
PASSING = tuple(os.strerror(number).encode() for number in (errno.EAGAIN, errno.ENOMEM))
"""Why a program could not make a process, in its words."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


@dataclass(frozen=True, slots=True)
class Kernel:
    """Version of Landlock (0 for none), and whether it filters system calls."""

    landlock: int
    seccomp: bool

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(
            name
            for name, there in (("landlock", self.landlock), ("seccomp", self.seccomp))
            if there
        )

    @property
    def missing(self) -> tuple[str, ...]:
        lacks = []
        if not self.landlock:
            lacks.append("Landlock (Linux 5.13 with Landlock among its security modules)")
        elif self.landlock < 6:
            lacks.append("all of Landlock (Linux 6.12): system calls are filtered, though")
        if not self.seccomp:
            lacks.append("seccomp filters (Linux on x86_64 or aarch64)")
        return tuple(lacks)


@functools.cache
def kernel() -> Kernel:
    """What the launcher finds here. Raises SandboxUnavailable."""
    if not sys.platform.startswith("linux"):
        return Kernel(0, False)
    try:
        answer = json.loads(trial([sys.executable, "-I", "-S", str(LAUNCHER)]) or b"{}")
        return Kernel(answer["landlock"], answer["seccomp"])
    except (ValueError, KeyError):
        return Kernel(0, False)


def trial(command: Sequence[str]) -> bytes | None:
    """What a program prints that tries what the kernel offers; None where it does not offer it.

    Raises SandboxUnavailable where nothing could be tried: that says nothing of the kernel, and a
    layer that was taken for missing then would be missing for as long as the process lives.
    """
    try:
        tried = subprocess.run(command, capture_output=True, check=False, timeout=30)  # noqa: S603 - ours
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise sb.SandboxUnavailable(f"What confines code cannot be tried: {exc}.") from exc
    if tried.returncode < 0 or any(why in tried.stderr for why in PASSING):
        raise sb.SandboxUnavailable("What confines code cannot be tried: a process was refused.")
    return tried.stdout if tried.returncode == 0 else None


def order(
    *,
    read: Sequence[Path | str],
    write: Sequence[Path | str] = (),
    execute: Sequence[Path | str] = (),
    rlimits: dict[str, int],
    parent: bool = True,
    **rest: Any,
) -> str:
    """The launcher's argument; see there. ``rest`` has ``argv``, or ``script``. Raises
    SandboxUnavailable."""
    return json.dumps(
        {
            "layers": kernel().layers,
            "read": [*map(str, read), *LIBRARIES],
            "write": [*map(str, write), *DEVICES],
            "execute": [*map(str, execute)],
            "rlimits": rlimits,
            "parent": os.getpid() if parent else None,
            **rest,
        }
    )
