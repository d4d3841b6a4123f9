"""The interpreter's side of a native session: a program that the launcher runs once it is confined.

Frames come on what was stdin and go to what was stdout; see ``host.mjs`` for their form. What code
writes to the file descriptors 1 and 2 itself, or lets C write, is pumped into frames too.
"""

from __future__ import annotations

import asyncio
import builtins
import io
import json
import os
import resource
import signal
import struct
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

LENGTHS = struct.Struct(">II")
DATA = "/mnt/data"


class Kernel:
    """Reads requests in the main thread, where interrupts arrive, and runs cells there."""

    def __init__(self, packages: str) -> None:
        from sandbox_repl import Repl  # type: ignore[import-not-found]

        self.incoming, self.outgoing = os.dup(0), os.dup(1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            reader, writer = os.pipe()
            os.dup2(writer, descriptor)
            os.close(writer)
            threading.Thread(target=self._pump, args=(name, reader), daemon=True).start()
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.writing = threading.RLock()
        self.in_frame = self.interrupted = False
        signal.signal(signal.SIGINT, self._on_interrupt)
        self.repl = Repl(self._emit, self._wait, packages, self.loop)

    def serve(self) -> None:
        self._send({"kind": "ready"})
        while True:
            header = json.loads(self._read(LENGTHS.unpack(self._read(LENGTHS.size))))
            if header["op"] == "exec":
                ok = self._exec(header["code"])
                self._send({"kind": "done", "call": header["call"], "ok": ok})
            elif header["op"] == "configure":
                for name, value in header["rlimits"].items():
                    resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
                self._send({"kind": "reply", "id": header["id"]})

    def _read(self, size: int | tuple[int, ...]) -> bytes:
        wanted = size if isinstance(size, int) else sum(size)
        data = b""
        while len(data) < wanted:
            piece = os.read(self.incoming, wanted - len(data))
            if not piece:
                os._exit(0)  # the host is gone
            data += piece
        return data

    def _exec(self, code: str) -> bool:
        """A coroutine that never waits for anything but ``_wait``, which does not wait either."""
        self.interrupted = False
        signal.signal(signal.SIGINT, self._on_interrupt)  # whatever earlier cells made of it
        try:
            self.repl.run(code).send(None)
        except StopIteration as end:
            return end.value is True
        return False

    async def _wait(self, task: asyncio.Future[Any]) -> Any:
        try:
            return self.loop.run_until_complete(task)
        except KeyboardInterrupt:
            task.cancel()
            self.loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
            raise

    def _on_interrupt(self, number: int, where: types.FrameType | None) -> None:
        """A frame that was half written would be the end of the session."""
        if self.in_frame:
            self.interrupted = True
        else:
            self.repl.interrupt(number, where)

    def _emit(self, kind: str, detail: str, body: bytes) -> None:
        self._send({"kind": kind, "detail": detail}, body)

    def _send(self, header: dict[str, Any], body: bytes = b"") -> None:
        head = json.dumps(header).encode()
        data = LENGTHS.pack(len(head), len(body)) + head + body
        main = threading.current_thread() is threading.main_thread()
        with self.writing:
            self.in_frame = main
            try:
                while data:
                    data = data[os.write(self.outgoing, data) :]
            finally:
                self.in_frame = False
        if main and self.interrupted:
            self.interrupted = False
            signal.raise_signal(signal.SIGINT)

    def _pump(self, name: str, reader: int) -> None:
        while data := os.read(reader, 1 << 16):
            self._emit("text", name, data)


# --- Without a mount of its own, /mnt/data is another folder -----------------------------------------

PATHS = [
    "access",
    "chdir",
    "chmod",
    "link",
    "listdir",
    "lstat",
    "mkdir",
    "open",
    "readlink",
    "remove",
    "rename",
    "replace",
    "rmdir",
    "scandir",
    "stat",
    "symlink",
    "truncate",
    "unlink",
    "utime",
]


def call_it_mnt_data(folder: str) -> None:
    """Make Python's own functions find /mnt/data in ``folder``. A convenience, not a wall."""

    def real(path: Any) -> Any:
        if isinstance(path, (str, os.PathLike)):
            text = os.fspath(path)
            if isinstance(text, str) and (text == DATA or text.startswith(f"{DATA}/")):
                return folder + text[len(DATA) :]
        return path

    def translated(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(*map(real, args[:2]), *args[2:], **kwargs)

        call.__name__ = function.__name__
        return call

    for name in PATHS:
        setattr(os, name, translated(getattr(os, name)))
    builtins.open = io.open = translated(open)
    getcwd = os.getcwd
    os.getcwd = lambda: getcwd().replace(folder, DATA, 1)


def main() -> None:
    arguments = json.loads(sys.argv[1])
    sys.path.insert(0, arguments["harness"])
    sys.modules["sandbox_repl"] = __import__("repl")
    sys.path[0] = ""
    os.chdir(arguments["data"])
    sys.executable, sys.argv = "/usr/bin/python3", [""]
    kernel = Kernel(arguments["packages"])
    if arguments["data"] != DATA:
        call_it_mnt_data(arguments["data"])
        kernel.repl.renamed[arguments["data"]] = DATA
    kernel.serve()


if __name__ == "__main__":
    main()
