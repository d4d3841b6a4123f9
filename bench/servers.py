"""The programs that are measured: the scripted upstream, and the gateway as it is deployed, on a
new database. With two CPUs the gateway has one for itself; the load shares the other one with the
upstream."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

from bench.dialects import CHAT, RESPONSES
from bench.load import Target
from bench.mcp_calls import McpFigures

ROOT = Path(__file__).resolve().parent.parent
MCP_SERVER = ["-m", "bench.mcp_calls"]
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


def pin_nowhere() -> None:
    """Let this process, and the children it starts from now on, run on every CPU."""
    if _CPUS:
        os.sched_setaffinity(0, _CPUS)


_CPUS = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()


@contextmanager
def upstream() -> Iterator[Target]:
    """The scripted upstream."""
    with program("upstream", ["-m", "bench.upstream"]) as (pid, port):
        yield Target("floor", port, CHAT, pid)


@contextmanager
def relay(folder: Path, *, upstream_port: int) -> Iterator[Target]:
    """The bare relay."""
    folder.mkdir(parents=True)
    environment = settings_of(folder, upstream_port)
    with program("relay", ["-m", "bench.relay"], environment=environment) as (pid, port):
        yield Target("relay", port, CHAT, pid)


@contextmanager
def gateway(
    name: str,
    folder: Path,
    *,
    upstream_port: int,
    database_url: str = "",
    settings: dict[str, str] | None = None,
    processes: int = 1,
    helper: Sequence[str] = (),
    mcp_port: int | None = None,
) -> Iterator[Target]:
    """A gateway with an API key, on a new database: a SQLite file in ``folder``, or one that is
    made on the PostgreSQL server of ``database_url`` and dropped at the end. The target's process
    is the first one. ``helper`` is a program that runs beside it. It knows an MCP server on
    ``mcp_port`` as ``bench``."""
    folder.mkdir(parents=True)
    with _database(folder, database_url) as url:
        environment = settings_of(folder, upstream_port) | {"DATABASE_URL": url} | (settings or {})
        manage(environment, "migrate", "--verbosity", "0")
        token = manage(environment, "createapikey", "bench")
        if mcp_port is not None:
            (folder / "mcp.json").write_text(mcp_json(mcp_port))
            manage(environment, "mcp", "import", str(folder / "mcp.json"))
        command = ["-m", "responses_gateway.server"]
        with (
            program(name, command, environment=environment, processes=processes) as (pid, port),
            _beside(helper, environment) as beside,
        ):
            yield Target(name, port, RESPONSES, pid, token, helper=beside)


def mcp_json(port: int) -> str:
    """The MCP server as operators bring it in: its calls need no approval."""
    server = {"url": f"http://127.0.0.1:{port}/mcp", "gateway": {"approval": "never"}}
    return json.dumps({"mcpServers": {"bench": server}})


def mcp_seen(port: int) -> dict[str, int]:
    """How often the MCP server was asked, by the protocol's methods."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/seen", timeout=5) as answer:
        seen: dict[str, int] = json.loads(answer.read())
    return seen


@contextmanager
def mcp_server() -> Iterator[int]:
    """An MCP server over streamable HTTP: its port."""
    with program("MCP server", MCP_SERVER) as (_, port):
        yield port


def mcp_calls(folder: Path, *, database_url: str = "") -> McpFigures:
    """Calls of an MCP tool, with and without the gateway between."""
    folder.mkdir(parents=True)
    with _database(folder, database_url) as url, mcp_server() as port:
        environment = settings_of(folder, port) | {"DATABASE_URL": url}
        manage(environment, "migrate", "--verbosity", "0")
        done = subprocess.run(
            [sys.executable, *MCP_SERVER, f"http://127.0.0.1:{port}/mcp"],
            cwd=ROOT,
            env=environment_with(environment),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise StartError(f"bench.mcp_calls: {done.stderr}")
    return McpFigures(**json.loads(done.stdout))


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


def settings_of(folder: Path, upstream_port: int) -> dict[str, str]:
    return {
        "GATEWAY_DATA_DIR": str(folder),
        "GATEWAY_UPSTREAM_URL": f"http://127.0.0.1:{upstream_port}",
        "GATEWAY_SECRET_KEY": uuid.uuid4().hex,
    }


def environment_with(extra: Mapping[str, str]) -> dict[str, str]:
    """Nothing of this shell's own gateway gets into it."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    return inherited | dict(extra)


def manage(environment: Mapping[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment_with(environment),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StartError(f"manage.py {arguments[0]}: {done.stdout}{done.stderr}")
    return done.stdout.strip()


@contextmanager
def program(
    name: str,
    command: list[str],
    *,
    environment: Mapping[str, str] | None = None,
    processes: int = 1,
) -> Iterator[tuple[int, int]]:
    """A Python program on an inherited socket: process id and port, once it answers. Several
    processes share the socket."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        port, descriptor = listening.getsockname()[1], listening.fileno()
        running = [
            subprocess.Popen(
                [sys.executable, *command, "--fd", str(descriptor)],
                cwd=ROOT,
                env=environment_with(environment or {}),
                pass_fds=[descriptor],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            for _ in range(processes)
        ]
    try:
        wait_for(name, running[0], f"http://127.0.0.1:{port}/health")
        yield running[0].pid, port
    finally:
        _end(running)


@contextmanager
def _beside(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[int | None]:
    """A Python program that listens nowhere: its process id; None where there is no command."""
    if not command:
        yield None
        return
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment_with(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process.pid
    finally:
        _end([process])


def _end(running: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in running:
        process.terminate()
    for process in running:
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(name: str, process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise StartError(f"{name} does not answer at {url} (exit status {process.poll()})")
