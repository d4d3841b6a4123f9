"""The second layer around an interpreter's process: what this kernel offers, and how to ask for it."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LAUNCHER = Path(__file__).with_name("launcher.py")
LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
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
    """What the launcher finds here."""
    if not sys.platform.startswith("linux"):
        return Kernel(0, False)
    try:
        found = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-I", "-S", LAUNCHER], capture_output=True, check=True, timeout=30
        )
        answer = json.loads(found.stdout)
        return Kernel(answer["landlock"], answer["seccomp"])
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return Kernel(0, False)


def order(
    *,
    read: Sequence[Path | str],
    write: Sequence[Path | str] = (),
    execute: Sequence[Path | str] = (),
    rlimits: dict[str, int],
    parent: bool = True,
    **rest: Any,
) -> str:
    """The launcher's argument; see there. ``rest`` has ``argv``, or ``script``."""
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
