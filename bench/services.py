"""A PostgreSQL and a Redis of the bench's own, which it may stop and start as it likes."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.servers import StartError

POSTGRES = "/usr/lib/postgresql"
"""Where Debian keeps the programs that are not in the path."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


class Service:
    """One program on a port; started anew, it has what it had."""

    def __init__(self, command: Sequence[str], port: int, *, user: str | None = None) -> None:
        self._command, self.port, self._user = command, port, user
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user,
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise StartError(f"{self._command[0]} does not start")

    def stop(self, number: int) -> None:
        """With this signal."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(60)


def is_installed(name: str) -> bool:
    return shutil.which(name) is not None


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        below = sorted(Path(POSTGRES).glob(f"*/bin/{name}"))
        if not below:
            raise StartError(f"{name} is not installed")
        found = str(below[-1])
    return found


@contextmanager
def postgres(folder: Path) -> Iterator[tuple[Service, str]]:
    """A new server, and the URL of its one database."""
    data, port = folder / "postgres", free_port()
    data.mkdir()
    user = None
    if os.getuid() == 0:  # which PostgreSQL refuses to run as
        user = "postgres"
        folder.chmod(0o755)
        os.chown(data, pwd.getpwnam(user).pw_uid, -1)
    made = subprocess.run(
        [_program("initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"],
        capture_output=True, text=True, user=user, cwd=data, check=False,
    )  # fmt: skip
    if made.returncode:
        raise StartError(made.stdout + made.stderr)
    options = [f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={data}"]
    command = [_program("postgres"), "-D", str(data), *(f"--{option}" for option in options)]
    service = Service(command, port, user=user)
    service.start()
    try:
        yield service, f"postgresql://postgres@127.0.0.1:{port}/postgres"
    finally:
        service.stop(2)  # SIGINT: at once


@contextmanager
def redis(folder: Path) -> Iterator[tuple[Service, str]]:
    """A new server that keeps nothing, and its URL."""
    port = free_port()
    command = [_program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "",
               "--dir", str(folder)]  # fmt: skip
    service = Service(command, port)
    service.start()
    try:
        yield service, f"redis://127.0.0.1:{port}/0"
    finally:
        service.stop(15)
