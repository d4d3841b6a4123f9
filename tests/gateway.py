"""A real gateway for tests: our server as a child process, on its own database.

The database is a SQLite file in a folder of its own, or a PostgreSQL database made for it.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import openai
import psycopg

from tests.programs import ROOT, Program, eventually


class Database:
    """Where a gateway keeps its rows; ``query`` looks at them from outside."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = url.startswith("sqlite")

    def query(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run one statement in a connection of its own. ``%s`` marks parameters."""
        if self.is_sqlite:
            connection = sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=20)
            try:
                with connection:
                    return connection.execute(sql.replace("%s", "?"), parameters).fetchall()
            finally:
                connection.close()
        with psycopg.connect(self.url, autocommit=True) as postgres:
            cursor = postgres.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []


def sqlite_database(folder: Path) -> Database:
    return Database(f"sqlite:///{folder / 'gateway.sqlite3'}")


@contextmanager
def postgres_database(server_url: str) -> Iterator[Database]:
    """A new database on the server that the URL names; dropped at the end."""
    name = f"gateway_test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
        try:
            yield Database(urlunsplit(urlsplit(server_url)._replace(path=f"/{name}")))
        finally:
            admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


class Gateway:
    """One server process. ``settings`` are GATEWAY_* variables without their prefix."""

    def __init__(
        self,
        database: Database,
        folder: Path,
        *,
        upstream: str = "",
        settings: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
        migrate: bool = True,
    ) -> None:
        self.database, self.folder = database, folder
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")},
            "GATEWAY_DATA_DIR": str(folder),
            "GATEWAY_UPSTREAM_URL": upstream,
            "GATEWAY_SECRET_KEY": "a key for tests",
            "GATEWAY_ENCRYPTION_KEYS": "2dXz0Yk3T8m1bJw5h0cVfQe7sLr9uPaGxNiZtOyKjMg=",
            "DATABASE_URL": database.url,
            **{f"GATEWAY_{name}": str(value) for name, value in (settings or {}).items()},
            **(environment or {}),
        }
        if migrate:
            self.manage("migrate", "--verbosity", "0")
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.environment.setdefault("GATEWAY_INTERNAL_URL", self.url)
        self.environment.setdefault("GATEWAY_PUBLIC_URL", self.url)
        self.program = self._start()

    def manage(self, *arguments: str) -> str:
        """Run one management command against the gateway's database; gives its output."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def _start(self) -> Program:
        descriptor = self.socket.fileno()
        command = [sys.executable, "-m", "responses_gateway.server", "--fd", str(descriptor)]
        program = Program(command, env=self.environment, pass_fds=[descriptor])
        self.http = httpx.Client(base_url=self.url, timeout=60)
        eventually(lambda: self.http.get("/health").status_code == 200)
        return program

    def restart(self) -> None:
        """Start again on the same database, after the process was killed or has ended."""
        self.http.close()
        self.program.close()
        self.program = self._start()

    def client(self, **options: Any) -> openai.OpenAI:
        """The official client, without retries unless asked for."""
        defaults = {"api_key": "any", "max_retries": 0, "timeout": 60}
        return openai.OpenAI(base_url=f"{self.url}/v1", **{**defaults, **options})

    def close(self) -> None:
        self.http.close()
        self.program.close()
        self.socket.close()
