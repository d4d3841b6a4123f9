"""How a database is brought to the schema of the code."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from apps.store.schema import ADVISORY_LOCK
from tests.gateway import Database, postgres_database, sqlite_database
from tests.management.gateway_command import environment
from tests.programs import ROOT, Program

MIGRATE = """
import sys, django; django.setup()
from apps.store.schema import SchemaError, migrate
try:
    migrate(lambda line: print(line, flush=True))
except SchemaError as exc:
    sys.exit(f"refused: {exc}")
"""


class Checkout:
    """This code on a database; each step is a process of its own."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.folder, self.database = folder, database
        self.environment = environment(
            folder,
            DATABASE_URL=database.url,
            DJANGO_SETTINGS_MODULE="responses_gateway.settings",
        )

    def start(self) -> Program:
        return Program([sys.executable, "-c", MIGRATE], env=self.environment)

    def migrate(self) -> str:
        program = self.start()
        program.wait()
        return program.output

    def manage(self, *arguments: str) -> None:
        command = [sys.executable, "manage.py", *arguments]
        subprocess.run(command, cwd=ROOT, env=self.environment, check=True, capture_output=True)

    def copies(self) -> list[Path]:
        return sorted((self.folder / "backups").glob("before-migration-*.sqlite3"))

    def claim(self, app: str, name: str) -> None:
        """Pretend that a migration was applied."""
        self.database.query(
            "INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, '2030-01-01')",
            app,
            name,
        )


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path, sqlite_database(tmp_path))


@pytest.fixture
def on_postgres(tmp_path: Path, postgres_url: str) -> Iterator[Checkout]:
    with postgres_database(postgres_url) as database:
        yield Checkout(tmp_path, database)


def test_a_new_sqlite_file_is_not_copied(on_sqlite: Checkout) -> None:
    assert "migrations applied." in on_sqlite.migrate()
    assert on_sqlite.copies() == []


def test_a_database_that_is_up_to_date_is_left_alone(on_sqlite: Checkout) -> None:
    on_sqlite.manage("migrate", "--verbosity", "0")
    assert on_sqlite.migrate() == ""
    assert on_sqlite.copies() == []


def test_a_sqlite_file_is_copied_as_it_was_before_it_is_migrated(on_sqlite: Checkout) -> None:
    on_sqlite.manage("migrate", "auth", "--verbosity", "0")
    output = on_sqlite.migrate()
    (copy,) = on_sqlite.copies()
    assert f"Database: copied to {copy} before it is migrated." in output
    assert copy.stat().st_mode & 0o077 == 0
    with sqlite3.connect(copy) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
    connection.close()
    assert "auth_user" in tables
    assert "store_response" not in tables


def test_the_last_five_copies_are_kept_and_other_backups_too(on_sqlite: Checkout) -> None:
    on_sqlite.manage("migrate", "auth", "--verbosity", "0")
    folder = on_sqlite.folder / "backups"
    folder.mkdir()
    for day in range(1, 8):
        (folder / f"before-migration-2020010{day}T000000.0Z.sqlite3").touch()
    (folder / "gateway-20200101T000000Z.sqlite3").touch()
    on_sqlite.migrate()
    assert [copy.name[17:25] for copy in on_sqlite.copies()[:-1]] == [
        "20200104",
        "20200105",
        "20200106",
        "20200107",
    ]
    assert len(on_sqlite.copies()) == 5
    assert (folder / "gateway-20200101T000000Z.sqlite3").exists()


def test_a_database_of_a_newer_version_is_refused(on_sqlite: Checkout) -> None:
    on_sqlite.manage("migrate", "--verbosity", "0")
    on_sqlite.claim("store", "9999_from_the_future")
    output = on_sqlite.migrate()
    assert output.startswith("refused: The database was migrated by a newer version")
    assert "store.9999_from_the_future" in output


def test_migrations_of_apps_that_are_not_ours_are_none_of_our_business(
    on_sqlite: Checkout,
) -> None:
    on_sqlite.manage("migrate", "--verbosity", "0")
    on_sqlite.claim("auth", "9999_from_the_future")
    on_sqlite.claim("something", "0001_initial")
    assert on_sqlite.migrate() == ""


def test_a_database_that_cannot_be_opened_is_reported(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    output = Checkout(missing, sqlite_database(missing)).migrate()
    assert output.startswith("refused: The database cannot be brought up to date")


@pytest.mark.postgres
def test_two_processes_migrate_postgresql_one_after_the_other(on_postgres: Checkout) -> None:
    outputs: list[str] = []
    threads = [
        threading.Thread(target=lambda: outputs.append(on_postgres.migrate())) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum("applied." in output for output in outputs) == 1
    assert not any("refused" in output for output in outputs)


@pytest.mark.postgres
def test_it_waits_for_whoever_migrates_postgresql(on_postgres: Checkout) -> None:
    with psycopg.connect(on_postgres.database.url, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [ADVISORY_LOCK])
        program = on_postgres.start()
        program.line("waiting for another process that migrates it")
    program.line("migrations applied.")
    assert program.wait() == 0
