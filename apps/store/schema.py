"""Brings the database to the schema of this code, with a way back.

SQLite is copied before it is changed. PostgreSQL is changed by one process at a time. A database
of a newer version is left alone. Used by every command that may be the first to run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from django.apps import apps
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader

from apps.store.backup import BackupError, copy_sqlite

COPIES_KEPT = 5
ADVISORY_LOCK = 0x6761746577617902  # any number that nobody else uses in this database

Report = Callable[[str], None]


class SchemaError(Exception):
    """The database cannot be used as it is; the message says why and what to do."""


def migrate(report: Report) -> None:
    """Apply what is pending; ``report`` is called with a line for each thing that was done."""
    try:
        with _alone(report):
            if newer := unknown():
                raise SchemaError(
                    "The database was migrated by a newer version of the gateway "
                    f"({', '.join(newer)}). Run that version, or restore a backup that was made "
                    "before."
                )
            if count := pending():
                _copy(report)
                call_command("migrate", interactive=False, verbosity=0)
                report(f"Database: {count} migration{'s' if count > 1 else ''} applied.")
    except (BackupError, DatabaseError, OSError) as exc:
        raise SchemaError(f"The database cannot be brought up to date: {exc}") from exc


def unknown() -> list[str]:
    """Applied migrations of our apps that this code does not have."""
    loader = MigrationLoader(connection)
    ours = {config.label for config in apps.get_app_configs() if config.name.startswith("apps.")}
    known = set(loader.disk_migrations)
    for migration in loader.disk_migrations.values():
        known.update(migration.replaces)
    return sorted(
        f"{label}.{name}"
        for label, name in loader.applied_migrations
        if label in ours and (label, name) not in known
    )


def pending() -> int:
    """How many migrations are not applied."""
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


@contextmanager
def _alone(report: Report) -> Iterator[None]:
    """Hold the lock under which PostgreSQL is migrated."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [ADVISORY_LOCK])
        if cursor.fetchone() != (True,):
            report("Database: waiting for another process that migrates it.")
            cursor.execute("SELECT pg_advisory_lock(%s)", [ADVISORY_LOCK])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [ADVISORY_LOCK])


def _copy(report: Report) -> None:
    """Copy a SQLite file that holds something, and drop the oldest such copies."""
    if connection.vendor != "sqlite" or not connection.introspection.table_names():
        return
    folder = settings.DATA_DIR / "backups"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"before-migration-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.sqlite3"
    report(f"Database: copied to {copy_sqlite(folder / name)} before it is migrated.")
    for old in sorted(folder.glob("before-migration-*.sqlite3"))[:-COPIES_KEPT]:
        old.unlink()
