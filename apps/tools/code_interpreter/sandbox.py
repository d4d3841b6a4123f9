"""What a sandbox is: a backend that starts interpreters, and what passes between it and its host.

Everything here blocks and is called from threads. The modules of the sandboxes know neither Django
nor the store: the workers that run them have no secret key and no database, and what they are to
do reaches them as plain values.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

DATA_FOLDER = "/mnt/data"
"""The working directory of the code, in every backend. Paths of files are relative to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """Which backend, and how it is set up. ``folder`` holds what `manage.py sandbox` installed."""

    backend: Literal["pyodide", "native", "off"]
    folder: Path
    spares: int = 1
    """How many interpreters wait, started, for the next session."""
    unconfined: bool = False
    """Run `native` even where the kernel offers nothing to confine it with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one session may use; each is enforced from outside of it. Bytes count one call's output,
    and all files together."""

    memory_mb: int = 512
    """Of Python's own heap: more is a MemoryError that code can handle."""
    rss_mb: int = 900
    """Of the whole process: more ends it."""
    wall_s: float = 60
    grace_s: float = 2
    """Between the interrupt and the kill."""
    idle_cpu_s: float = 10
    """CPU time that threads and tasks left behind may use between two calls."""
    output_bytes: int = 64 << 10
    display_bytes: int = 8 << 20
    files_bytes: int = 100 << 20
    files_count: int = 200


@dataclass(frozen=True, slots=True)
class Started:
    """The interpreter has the code: from now on it may have had effects."""


@dataclass(frozen=True, slots=True)
class Stdout:
    text: str


@dataclass(frozen=True, slots=True)
class Stderr:
    text: str


@dataclass(frozen=True, slots=True)
class Result:
    """The value of a last expression, as ``repr`` shows it."""

    text: str


@dataclass(frozen=True, slots=True)
class Display:
    """An image, or another rich form of a value."""

    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Error:
    """An exception that the code did not catch. ``traceback`` is complete, without the host's
    paths, and ends with the exception itself."""

    name: str
    value: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Truncated:
    """More came out than the limits let through: so many bytes were dropped."""

    stream: Literal["output", "display", "files"]
    dropped: int


@dataclass(frozen=True, slots=True)
class FileChanged:
    """A file below /mnt/data that the call made or changed."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class FileDeleted:
    """A file below /mnt/data that was there before the call is there no more."""

    path: str


CallStatus: TypeAlias = Literal["ok", "error", "timeout", "cancelled", "oom", "crashed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """The end of a call. It is the host's word, whatever the interpreter says.

    ``error`` is an exception of the code, ``cancelled`` an interrupt that somebody asked for. With
    ``state_lost`` the session is dead: variables are gone.
    """

    status: CallStatus
    ms: int
    state_lost: bool = False


Event: TypeAlias = (
    Started
    | Stdout
    | Stderr
    | Result
    | Display
    | Error
    | Truncated
    | FileChanged
    | FileDeleted
    | Done
)


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A regular file below /mnt/data. ``version`` changes when the file does."""

    path: str
    size: int
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether a backend can work here. ``layers`` are what confines the code, outermost first;
    ``missing`` is what the kernel or the installation does not offer, in words for an operator."""

    usable: bool
    backend: str
    versions: dict[str, str]
    layers: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


SessionState: TypeAlias = Literal["ready", "busy", "dead"]


class Session(Protocol):
    """One interpreter. One thread uses it at a time; any thread may interrupt or close it."""

    @property
    def state(self) -> SessionState:
        """``dead`` never changes again."""

    @property
    def pid(self) -> int | None:
        """The process that belongs to it, if it has one of its own."""

    def execute(self, code: str, call_id: str) -> Iterator[Event]:
        """Run one cell: Started first, exactly one Done last, and nothing raised in between.
        Closing the iterator early interrupts the cell. Raises SessionDead before the first event
        where there is no interpreter."""

    def interrupt(self) -> None:
        """Ask the running cell to stop; where it does not within the grace time, the interpreter
        is killed. Does nothing between cells."""

    def put(self, path: str, chunks: Iterable[bytes]) -> None:
        """Write a file before the next cell; it is not reported as changed. Raises FilesRefused
        over the limits or for a path that leads out of /mnt/data, and SessionDead."""

    def list(self) -> list[FileInfo]:
        """The regular files, at most as many as the limits say. Raises SessionDead."""

    def get(self, path: str) -> Iterator[bytes]:
        """A file's content in pieces of at most 1 MiB, never more than the limits allow. Raises
        FileNotFoundError and SessionDead."""

    def delete(self, path: str) -> None:
        """Remove a file; one that is not there is no error. Raises SessionDead."""

    def snapshot(self) -> bytes | None:
        """The interpreter's variables, for ``restore``: foreign memory that only a sandbox may
        read. None where that is not possible. Files are not in it."""

    def close(self) -> None:
        """Kill the interpreter and remove what it left on disk. May be called twice."""


class Sandbox(Protocol):
    """A backend. One instance belongs to one hosting process and is used by many threads."""

    @property
    def name(self) -> str: ...

    @property
    def features(self) -> frozenset[str]:
        """``snapshot`` where sessions can be written down."""

    def probe(self) -> Health:
        """What is installed and what confines code here; starts no interpreter."""

    def start(
        self,
        session_id: str,
        limits: Limits,
        *,
        restore: bytes | None = None,
        cancelled: threading.Event | None = None,
    ) -> Session:
        """A session, from a spare where one is ready. ``session_id`` is for logs only. Raises
        SandboxUnavailable, also when it is cancelled before the interpreter has started; a
        snapshot that cannot be restored is a SnapshotRefused."""

    def warm(self) -> None:
        """Start the spares in the background; returns at once."""

    def close(self) -> None:
        """Close all sessions and spares."""


class SandboxUnavailable(Exception):
    """No session can be started. The message says what an operator can do."""


class SnapshotRefused(Exception):
    """This backend, or this version of it, cannot restore that snapshot."""


class SessionDead(Exception):
    """The interpreter is gone, and with it its variables."""


class FilesRefused(Exception):
    """A file is too large, or one too many, or its path leads elsewhere."""
