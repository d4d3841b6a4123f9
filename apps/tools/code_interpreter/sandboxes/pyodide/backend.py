"""The backend `pyodide`: a Deno process per session that may nothing, and Python in it."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import Any

import deno

from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.sandboxes import confinement
from apps.tools.code_interpreter.sandboxes.backend import START, Backend
from apps.tools.code_interpreter.sandboxes.child import Child, ChildGone
from apps.tools.code_interpreter.sandboxes.frames import MOST_BODY, Frame
from apps.tools.code_interpreter.sandboxes.pyodide.installation import (
    HARNESS,
    Installation,
    PyodideMissing,
)

RESTORE = 20.0  # seconds
ANSWER = 20.0
SNAPSHOT = 5.0  # others wait for the room of an interpreter that is written down
CHUNK = 1 << 20
V8_HEAP_MB = 256


class PyodideSandbox(Backend):
    """See ``Sandbox``."""

    name = "pyodide"
    features = frozenset({"snapshot", "interrupt"})

    def __init__(self, config: sb.SandboxConfig) -> None:
        super().__init__(config)
        self.installation = Installation(config.folder / "pyodide")

    def health(self) -> sb.Health:
        missing = list(confinement.kernel().missing)
        try:
            self.installation.check()
        except PyodideMissing as exc:
            missing.insert(0, str(exc))
            return sb.Health(usable=False, backend=self.name, versions={}, missing=tuple(missing))
        return sb.Health(
            usable=True,
            backend=self.name,
            versions=self.installation.versions(),
            layers=(*confinement.kernel().layers, "deno permissions", "webassembly"),
            missing=tuple(missing),
            packages=tuple(self.installation.packages()),
        )

    def open(self, restore: bytes | None) -> PyodideInterpreter:
        try:
            self.installation.check()
        except PyodideMissing as exc:
            raise sb.SandboxUnavailable(str(exc)) from exc
        if restore is not None:
            restore = self.installation.unwrap(restore)
        return PyodideInterpreter(
            start_deno(self.installation, self.spawn), self.installation, restore
        )


def start_deno(
    installation: Installation, spawn: Callable[[Sequence[str], dict[str, str]], Child] = Child
) -> Child:
    """Deno with the program of the main isolate; it waits for its first frame."""
    program = deno.find_deno_bin()
    read = [HARNESS, installation.core, installation.snapshot]
    argv = [
        program,
        "run",
        *[
            "--quiet",
            "--no-remote",
            "--no-npm",
            "--no-config",
            "--no-lock",
            "--no-prompt",
            "--cached-only",
        ],
        *["--unstable-worker-options", "--node-modules-dir=none"],
        f"--allow-read={','.join(map(str, read))}",
        f"--v8-flags=--max-old-space-size={V8_HEAP_MB},--disallow-code-generation-from-strings",
        str(HARNESS / "host.mjs"),
        json.dumps(installation.deno_config()),
    ]
    env = {
        "DENO_DIR": str(installation.deno_dir),
        "DENO_NO_UPDATE_CHECK": "1",
        "HOME": "/nonexistent",
        # As in ../../memory.py: else what the snapshot came in stays, a sixth of all memory.
        "MALLOC_MMAP_THRESHOLD_": str(1 << 20),
        "NO_COLOR": "1",
    }
    if sys.platform.startswith("linux"):
        loader = f"/lib/ld-linux-{platform.machine()}.so.1"
        order = confinement.order(
            read=[*read, program, installation.deno_dir, "/proc/self", "/sys/fs/cgroup"],
            execute=[program, "/lib64/ld-linux-x86-64.so.2", loader],
            rlimits={"CORE": 0, "FSIZE": 0, "NOFILE": 256},
            argv=argv,
        )
        argv = [sys.executable, "-I", "-S", str(confinement.LAUNCHER), order]
    return spawn(argv, env)


class PyodideInterpreter:
    """One Deno process whose Python is ready."""

    def __init__(self, child: Child, installation: Installation, restore: bytes | None) -> None:
        self.child, self.pid, self.installation = child, child.pid, installation
        self._ids = count(1)
        within = RESTORE if restore else START
        try:
            child.send({"op": "boot"}, restore or b"", within=within)
            child.expect("ready", within=within)
        except ChildGone:
            self.close()
            raise

    def close(self) -> None:
        self.child.kill()
        self.child.reap()

    def request(
        self, op: str, body: bytes = b"", *, within: float = ANSWER, **fields: Any
    ) -> Frame:
        """Ask, and wait for the answer to this question. Raises ChildGone."""
        number, until = next(self._ids), time.monotonic() + within
        self.child.send({"op": op, "id": number, **fields}, body)
        while True:  # answers to other questions are made up
            reply = self.child.expect("reply", within=until - time.monotonic())
            if reply.header.get("id") == number:
                return reply

    def configure(self, limits: sb.Limits) -> PyodideFiles:
        self.memory = limits.memory_mb << 20
        self.request("configure", memory=self.memory)
        return PyodideFiles(self, limits)

    def interrupt(self, call_id: str) -> None:
        self.child.send({"op": "interrupt", "call": call_id})

    def snapshot(self) -> bytes | None:
        self.child.decoder.most_body = self.memory + MOST_BODY
        try:
            reply = self.request("snapshot", within=SNAPSHOT)
        finally:
            self.child.decoder.most_body = MOST_BODY
        if reply.header.get("possible") is not True:
            return None
        return self.installation.wrap(reply.body)


class PyodideFiles:
    """The files in the interpreter's memory: what it says of them is checked by the session."""

    def __init__(self, interpreter: PyodideInterpreter, limits: sb.Limits) -> None:
        self._request, self._limits = interpreter.request, limits

    def put(self, path: str, chunks: Iterable[bytes]) -> None:
        append = False
        for chunk in _pieces(chunks):
            reply = self._request("put", chunk, path=path, append=append)
            if reason := reply.text("failed"):
                raise sb.FilesRefused(reason)
            append = True

    def list(self) -> tuple[list[sb.FileInfo], int]:
        reply = self._request("list", most=self._limits.files_count)
        try:
            rows = json.loads(reply.body)
            files = [sb.FileInfo(*_row(row)) for row in rows[: self._limits.files_count]]
        except (ValueError, TypeError, KeyError, RecursionError) as exc:
            raise ChildGone("its list of files is none") from exc
        return files, reply.number("dropped")

    def get(self, path: str) -> Iterator[bytes]:
        offset = 0
        while True:
            reply = self._request("get", path=path, offset=offset)
            if reply.text("failed"):
                raise FileNotFoundError(path)
            if reply.body:
                yield reply.body
            offset += len(reply.body)
            if len(reply.body) < CHUNK:
                return

    def delete(self, path: str) -> None:
        self._request("delete", path=path)

    def exceeded(self) -> bool:
        return False  # they are in memory, which has its own limits

    def close(self) -> None:
        """They went with the process."""


def _row(row: Any) -> tuple[str, int, str]:
    path, size, mtime = row
    if not (isinstance(path, str) and type(size) is int and size >= 0):
        raise ValueError("not a file")
    return path[:512], size, f"{size}-{mtime}"[:100]


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Pieces of at most CHUNK bytes; one empty one for an empty file."""
    first = True
    for chunk in chunks:
        for start in range(0, len(chunk), CHUNK):
            yield chunk[start : start + CHUNK]
            first = False
    if first:
        yield b""
