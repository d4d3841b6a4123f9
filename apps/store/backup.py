"""Copies the database while it is in use: SQLite into a verified file, PostgreSQL by pg_dump.

Files beside the database (secrets, encryption keys) are not copied: without them, what is
encrypted in a backup stays closed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.db import connection


class BackupError(Exception):
    """No backup was made; the message says what to do."""


def backup(target: Path | None = None) -> Path:
    """Copy the database to a file, or into a folder; default: ``backups`` in the data folder."""
    if connection.vendor == "sqlite":
        return copy_sqlite(_file(target, suffix=".sqlite3"))
    if connection.vendor == "postgresql":
        return dump_postgresql(_file(target, suffix=".dump"))
    raise BackupError(f"Backups of {connection.display_name} are not known.")


def copy_sqlite(target: Path) -> Path:
    """Copy the SQLite database to a new file, readable by its owner only, and verify the copy.

    Writers go on meanwhile: the copy shows one moment, and no writer waits for it.
    """
    source = Path(connection.settings_dict["NAME"])
    if not source.is_file():
        raise BackupError(f"{source} is not there: nothing to copy yet.")
    with _new_file(target), closing(sqlite3.connect(target)) as copy:
        try:
            with closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as db:
                db.backup(copy)
            verdict = copy.execute("PRAGMA integrity_check").fetchone()[0]
        except sqlite3.Error as exc:
            raise BackupError(f"{source} could not be copied: {exc}.") from exc
        if verdict != "ok":
            raise BackupError(f"The copy of {source} is damaged, so the database may be: {verdict}")
    return target


def dump_postgresql(target: Path) -> Path:
    """Have pg_dump write a dump that pg_restore reads; the password passes in its environment."""
    arguments, environment = _pg_dump(target)
    if shutil.which(arguments[0]) is None:
        raise BackupError(
            "pg_dump is not installed here. Where PostgreSQL's client programs are, run: "
            + shlex.join(arguments)
        )
    with _new_file(target):
        done = subprocess.run(  # noqa: S603 - the arguments are the operator's own settings
            arguments, env=os.environ | environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise BackupError(f"pg_dump failed: {done.stderr.strip() or done.returncode}")
    return target


def _pg_dump(target: Path) -> tuple[list[str], dict[str, str]]:
    psql, environment = connection.client.settings_to_cmd_args_env(connection.settings_dict, [])
    # Both programs take the connection by the same options and variables.
    return ["pg_dump", "--format=custom", f"--file={target}", *psql[1:]], dict(environment or {})


def _file(target: Path | None, *, suffix: str) -> Path:
    name = f"gateway-{datetime.now(UTC):%Y%m%dT%H%M%SZ}{suffix}"
    if target is None:
        folder = Path(settings.DATA_DIR) / "backups"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder / name
    return target / name if target.is_dir() else target


@contextmanager
def _new_file(target: Path) -> Iterator[None]:
    """Make room for a file that only its owner can read; take it away again when filling fails."""
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise BackupError(f"{target} is there already and stays as it is.") from None
    except OSError as exc:
        raise BackupError(f"{target} cannot be written: {exc.strerror}.") from exc
    try:
        yield
    except BaseException:
        for leftover in ("", "-journal", "-wal", "-shm"):
            Path(f"{target}{leftover}").unlink(missing_ok=True)
        raise
