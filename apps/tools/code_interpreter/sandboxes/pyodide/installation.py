"""Where Pyodide is on disk, which packages are there, and the snapshot that sessions start from."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apps.tools.code_interpreter import sandbox as sb

VERSION = "314.0.7"
INTEGRITY = "sha512-0YvXxEhfEdpLfb/XkM2BFAeMROq0iMUX2bzzH9pOttyMcWkwq+HbE5uyuGD82LN7y2q+SNvi/6V5JEsOlD2R1A=="
FILES = (
    "package.json",
    "pyodide.mjs",
    "pyodide.asm.mjs",
    "pyodide.asm.wasm",
    "python_stdlib.zip",
    "pyodide-lock.json",
)
HARNESS = Path(__file__).parent
SOURCES = {"sandbox_repl": HARNESS.parent / "repl.py", "sandbox_session": HARNESS / "session.py"}
PROGRAMS = (HARNESS / "host.mjs", HARNESS / "worker.mjs")
COMMAND = "manage.py sandbox install"


class PyodideMissing(Exception):
    """It is not installed; the message says how it can be."""


class Installation:
    """One folder: ``core`` has Pyodide and the wheels beside it, and no ``node_modules`` above."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.core = self.folder / VERSION
        self.deno_dir = self.folder / "deno"

    @property
    def installed(self) -> bool:
        return all((self.core / name).is_file() for name in FILES)

    def check(self) -> None:
        """Raises PyodideMissing."""
        if not self.installed:
            raise PyodideMissing(f"Pyodide {VERSION} is not installed. Run `{COMMAND}`.")
        if not self.snapshot.is_file():
            raise PyodideMissing(f"Pyodide was not prepared for this version. Run `{COMMAND}`.")

    @property
    def snapshot(self) -> Path:
        """Where sessions start from: it fits one version of everything that is in it."""
        return self.core / f"base-{self.fingerprint}.snapshot"

    @functools.cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(f"{VERSION} {deno_version()}".encode())
        for path in (*SOURCES.values(), *PROGRAMS):
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    @functools.cached_property
    def lock(self) -> dict[str, Any]:
        """Pyodide's own list of packages: names, files, hashes, what needs what."""
        lock: dict[str, Any] = json.loads((self.core / "pyodide-lock.json").read_bytes())
        return lock

    def versions(self) -> dict[str, str]:
        python = self.lock["info"]["python"]
        return {"pyodide": VERSION, "python": python, "deno": deno_version()}

    def present(self) -> dict[str, dict[str, Any]]:
        """The packages of the lock file whose wheels are here."""
        here = {path.name for path in self.core.glob("*.whl")}
        return {n: p for n, p in self.lock["packages"].items() if p["file_name"] in here}

    def packages(self) -> list[str]:
        return [f"{package['name']} {package['version']}" for package in self.present().values()]

    def deno_config(self) -> dict[str, Any]:
        """What the programs of the two isolates need to know."""
        present = self.present()
        return {
            "harness": str(HARNESS),
            "pyodide": str(self.core),
            "snapshot": str(self.snapshot) if self.snapshot.is_file() else None,
            "python": self.lock["info"]["python"],
            "memory": sb.Limits().memory_mb << 20,
            "imports": {name: key for key, p in present.items() for name in p["imports"]},
            "packages": ", ".join(p["name"] for p in present.values()),
        }

    def wrap(self, snapshot: bytes) -> bytes:
        """A session's snapshot, marked with what can restore it."""
        return self.fingerprint.encode() + snapshot

    def unwrap(self, snapshot: bytes) -> bytes:
        mark = self.fingerprint.encode()
        if not snapshot.startswith(mark):
            raise sb.SnapshotRefused("It was made by another version.")
        return snapshot[len(mark) :]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time changes what is installed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / ".lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def write(self, path: Path, data: bytes) -> None:
        """All of it or nothing."""
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_bytes(data)
        part.replace(path)


@functools.cache
def deno_version() -> str:
    return importlib.metadata.version("deno")
