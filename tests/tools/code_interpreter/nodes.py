"""What tests of nodes need: calls, files in memory, calls that run in threads."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import asdict
from typing import IO, Any

from apps.tools.code_interpreter.calls import Call, FileRef, FileSaved, NodeEvent, TransferFailed
from apps.tools.code_interpreter.manager import SessionManager

LIMIT = 10.0


class Shelf:
    """A transfer that keeps files in memory. ``refuse`` is why nothing can be kept."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.saved: dict[str, FileRef] = {}
        self.fetched: list[str] = []
        self.refuse: str | None = None

    def add(self, path: str, data: bytes) -> FileRef:
        number = str(len(self.contents))
        ref = FileRef(id=f"cfile_{number}", path=path, size=len(data), version=number)
        self.contents[ref.id] = data
        self.saved[path] = ref
        return ref

    @property
    def files(self) -> tuple[FileRef, ...]:
        return tuple(self.saved.values())

    def fetch(self, file: FileRef) -> Iterable[bytes]:
        self.fetched.append(file.path)
        if file.id not in self.contents:
            raise TransferFailed("it was deleted")
        yield self.contents[file.id]

    def save(self, path: str, size: int, chunks: Iterator[bytes]) -> FileSaved:
        if self.refuse is not None:
            raise TransferFailed(self.refuse)
        return FileSaved(**asdict(self.add(path, b"".join(chunks))))


class Running:
    """A call in a thread of its own."""

    def __init__(self, manager: SessionManager, call: Call, shelf: Shelf) -> None:
        self.events: list[NodeEvent] = []
        self._came = threading.Condition()
        self._thread = threading.Thread(target=self._run, args=(manager, call, shelf), daemon=True)
        self._thread.start()

    def _run(self, manager: SessionManager, call: Call, shelf: Shelf) -> None:
        for event in manager.run(call, shelf):
            with self._came:
                self.events.append(event)
                self._came.notify_all()

    def saw(self, kind: type[Any]) -> None:
        """Wait for the first event of this kind."""
        with self._came:
            assert self._came.wait_for(lambda: any(isinstance(e, kind) for e in self.events), LIMIT)

    def end(self) -> NodeEvent:
        """Wait for the last event."""
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()
        return self.events[-1]


class Box:
    """The files of a container as the gateway has them, in memory."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.refuse: str | None = None

    def add(self, path: str, data: bytes) -> FileRef:
        number = str(len(self.contents))
        ref = FileRef(id=f"cfile_{number}", path=path, size=len(data), version=number)
        self.contents[ref.id] = data
        return ref

    async def read(self, file_id: str) -> AsyncIterator[bytes]:
        if file_id not in self.contents:
            raise TransferFailed("it was deleted")
        data = self.contents[file_id]
        for start in range(0, len(data), 1 << 20):
            yield data[start : start + (1 << 20)]

    async def write(self, path: str, content: IO[bytes], size: int) -> FileSaved:
        if self.refuse is not None:
            raise TransferFailed(self.refuse)
        data = content.read()
        assert len(data) == size
        return FileSaved(**asdict(self.add(path, data)))

    def address(self, epoch: int) -> str:
        return ""
