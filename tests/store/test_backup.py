"""Backups: a copy that opens, or a message that says why there is none."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.backends.postgresql.client import DatabaseClient

from apps.store import backup
from apps.store.backup import BackupError, copy_sqlite, dump_postgresql

FILE = Path("with space", "gateway.sqlite3")


def configured(monkeypatch: pytest.MonkeyPatch, vendor: str, settings_dict: Any) -> None:
    fake = SimpleNamespace(vendor=vendor, settings_dict=settings_dict, client=DatabaseClient)
    monkeypatch.setattr(backup, "connection", fake)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    """A database in WAL mode, which a writer has open, as the configured one."""
    path = tmp_path / FILE
    path.parent.mkdir()
    configured(monkeypatch, "sqlite", {"NAME": path})
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        writer.execute("CREATE TABLE word (text)")
        writer.execute("INSERT INTO word VALUES ('kept')")
        yield writer


@pytest.fixture
def postgresql(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """PostgreSQL's settings in place of the configured database."""
    settings_dict = {
        "NAME": "gateway",
        "USER": "keeper",
        "PASSWORD": "hush",
        "HOST": "db.example.org",
        "PORT": 5433,
        "OPTIONS": {"pool": {"min_size": 1}, "sslmode": "require"},
    }
    configured(monkeypatch, "postgresql", settings_dict)
    return settings_dict


def pg_dump(folder: Path, script: str) -> None:
    program = folder / "pg_dump"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def words(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as copy:
        return [row[0] for row in copy.execute("SELECT text FROM word")]


def test_a_copy_holds_what_was_committed_and_nothing_else(
    database: sqlite3.Connection, tmp_path: Path
) -> None:
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO word VALUES ('not committed')")
    target = tmp_path / "copy.sqlite3"
    assert copy_sqlite(target) == target
    assert words(target) == ["kept"]


def test_a_copy_is_one_file_for_its_owner_only(
    database: sqlite3.Connection, tmp_path: Path
) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    target = copy_sqlite(folder / "copy.sqlite3")
    assert list(folder.iterdir()) == [target]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_copy_keeps_the_write_ahead_log(database: sqlite3.Connection, tmp_path: Path) -> None:
    target = copy_sqlite(tmp_path / "copy.sqlite3")
    with closing(sqlite3.connect(target)) as copy:
        assert copy.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_existing_file_is_not_overwritten(database: sqlite3.Connection, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("precious")
    with pytest.raises(BackupError, match="is there already"):
        copy_sqlite(target)
    assert target.read_text() == "precious"


def test_a_damaged_database_leaves_no_copy(database: sqlite3.Connection, tmp_path: Path) -> None:
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (tmp_path / FILE).write_bytes(b"not a database " * 1000)
    target = tmp_path / "copies" / "copy.sqlite3"
    target.parent.mkdir()
    with pytest.raises(BackupError, match="could not be copied"):
        copy_sqlite(target)
    assert list(target.parent.iterdir()) == []


def test_a_copy_that_fails_its_check_is_taken_away(
    database: sqlite3.Connection, tmp_path: Path
) -> None:
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    source = tmp_path / FILE
    content = bytearray(source.read_bytes())
    content[4096 : 4096 + 8] = b"\xff" * 8  # the header of the table's page
    source.write_bytes(content)
    target = tmp_path / "copy.sqlite3"
    with pytest.raises(BackupError, match=r"is damaged|malformed"):
        copy_sqlite(target)
    assert not target.exists()


def test_no_database_yet_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configured(monkeypatch, "sqlite", {"NAME": tmp_path / "absent.sqlite3"})
    with pytest.raises(BackupError, match="nothing to copy yet"):
        copy_sqlite(tmp_path / "copy.sqlite3")
    assert not (tmp_path / "copy.sqlite3").exists()


def test_a_folder_that_is_missing_is_said(database: sqlite3.Connection, tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="cannot be written: No such file or directory"):
        copy_sqlite(tmp_path / "missing" / "copy.sqlite3")


def test_the_command_writes_to_the_data_folder(
    database: sqlite3.Connection, tmp_path: Path, settings: Any
) -> None:
    settings.DATA_DIR = tmp_path / "data"
    out = StringIO()
    call_command("backup", stdout=out)
    (path,) = (tmp_path / "data" / "backups").iterdir()
    assert path.name.startswith("gateway-2")
    assert path.suffix == ".sqlite3"
    assert out.getvalue().startswith(f"{path} (8.0")
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_command_takes_a_folder(database: sqlite3.Connection, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    call_command("backup", folder, stdout=StringIO())
    (path,) = folder.iterdir()
    assert words(path) == ["kept"]


def test_the_command_fails_with_the_reason(database: sqlite3.Connection, tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(CommandError, match="is there already"):
        call_command("backup", tmp_path / "taken")


def test_postgresql_is_dumped_by_its_own_program(
    postgresql: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pg_dump(
        tmp_path,
        "for a; do case $a in --file=*) f=${a#--file=};; esac; done\n"
        'echo "$* $PGPASSWORD $PGSSLMODE" > "$f"',
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    target = dump_postgresql(tmp_path / "copy.dump")
    assert target.read_text() == (
        f"--format=custom --file={target} -U keeper -h db.example.org -p 5433 gateway "
        "hush require\n"
    )
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_dump_that_fails_is_taken_away(
    postgresql: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pg_dump(tmp_path, "echo 'server version mismatch' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(BackupError, match="pg_dump failed: server version mismatch"):
        dump_postgresql(tmp_path / "copy.dump")
    assert not (tmp_path / "copy.dump").exists()


def test_without_pg_dump_the_command_to_run_is_named(
    postgresql: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    target = tmp_path / "copy.dump"
    with pytest.raises(BackupError) as caught:
        dump_postgresql(target)
    assert f"run: pg_dump --format=custom --file={target} -U keeper" in str(caught.value)
    assert "hush" not in str(caught.value)
    assert not target.exists()
