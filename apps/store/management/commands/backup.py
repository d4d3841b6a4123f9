"""Copies the database to a file while the gateway runs, and says where and how large it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.defaultfilters import filesizeformat

from apps.store.backup import BackupError, backup


class Command(BaseCommand):
    help = "Copy the database to a file (SQLite: a verified copy, PostgreSQL: pg_dump)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "target",
            metavar="TARGET",
            nargs="?",
            type=Path,
            help="A new file, or a folder; default: backups/ in the data folder.",
        )

    def handle(self, **options: Any) -> None:
        try:
            path = backup(options["target"])
        except BackupError as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(f"{path} ({filesizeformat(path.stat().st_size)})")
