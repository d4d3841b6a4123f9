"""The programs that are measured: the scripted upstream, and the gateway as it is deployed, on a
new database. With two CPUs the gateway has one for itself; the load shares the other one with the
upstream."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

from bench.dialects import CHAT, RESPONSES
from bench.load import Target

ROOT = Path(__file__).resolve().parent.parent
FOREIGN = ("GATEWAY_", "DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL")


class StartError(Exception):
    """A program did not start; the message says which, and its log's end."""


def pin(*, server: bool) -> bool:
    """Let this process, and the children it starts from now on, run on one CPU only: the server's
    or the load's. False when there is only one, or no way to choose."""
    if not hasattr(os, "sched_setaffinity"):
        return False
    cpus = sorted(_CPUS)
    if len(cpus) < 2:
        return False
    os.sched_setaffinity(0, {cpus[0 if server else 1]})
    return True


_CPUS = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()


@contextmanager
def upstream() -> Iterator[Target]:
    """The scripted upstream."""
    with _program("upstream", ["-m", "bench.upstream"]) as (pid, port):
        yield Target("floor", port, CHAT, pid)


@contextmanager
def relay(folder: Path, *, upstream_port: int) -> Iterator[Target]:
    """The bare relay."""
    folder.mkdir(parents=True)
    environment = _settings(folder, upstream_port)
    with _program("relay", ["-m", "bench.relay"], environment=environment) as (pid, port):
        yield Target("relay", port, CHAT, pid)


@contextmanager
def gateway(
    name: str,
    folder: Path,
    *,
    upstream_port: int,
    database_url: str = "",
    settings: dict[str, str] | None = None,
) -> Iterator[Target]:
    """A gateway with an API key, on a new database: a SQLite file in ``folder``, or one that is
    made on the PostgreSQL server of ``database_url`` and dropped at the end."""
    folder.mkdir(parents=True)
    with _database(folder, database_url) as url:
        environment = _settings(folder, upstream_port) | {"DATABASE_URL": url} | (settings or {})
        _manage(environment, "migrate", "--verbosity", "0")
        token = _manage(environment, "createapikey", "bench")
        command = ["-m", "responses_gateway.server"]
        with _program(name, command, environment=environment) as (pid, port):
            yield Target(name, port, RESPONSES, pid, token)


@contextmanager
def _database(folder: Path, server_url: str) -> Iterator[str]:
    if not server_url:
        yield f"sqlite:///{folder / 'gateway.sqlite3'}"
        return
    name = f"gateway_bench_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}"'.encode())
        try:
            yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
        finally:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def _settings(folder: Path, upstream_port: int) -> dict[str, str]:
    return {
        "GATEWAY_DATA_DIR": str(folder),
        "GATEWAY_UPSTREAM_URL": f"http://127.0.0.1:{upstream_port}",
        "GATEWAY_SECRET_KEY": uuid.uuid4().hex,
    }


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Nothing of this shell's own gateway gets into it."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    return inherited | dict(extra)


def _manage(environment: Mapping[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=_environment(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StartError(f"manage.py {arguments[0]}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


@contextmanager
def _program(
    name: str, command: list[str], *, environment: Mapping[str, str] | None = None
) -> Iterator[tuple[int, int]]:
    """A Python program on an inherited socket: process id and port, once it answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        port, descriptor = listening.getsockname()[1], listening.fileno()
        process = subprocess.Popen(
            [sys.executable, *command, "--fd", str(descriptor)],
            cwd=ROOT,
            env=_environment(environment or {}),
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    try:
        _wait_for(name, process, f"http://127.0.0.1:{port}/health")
        yield process.pid, port
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(name: str, process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise StartError(f"{name} does not answer at {url} (exit status {process.poll()})")
