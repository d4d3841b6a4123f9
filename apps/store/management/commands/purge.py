"""Erases what has expired, and says how much that was. To be run by a timer."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.store.errors import StorageUnavailable
from apps.store.mcp_records import purge_records
from apps.store.retention import (
    purge_containers,
    purge_files,
    purge_idempotency_keys,
    purge_media,
    purge_orphans,
    purge_responses,
)

KINDS = {
    "expired files": purge_files,
    "expired containers emptied": purge_containers,
    "old responses": purge_responses,
    "images without a response": purge_media,
    "old idempotency keys": purge_idempotency_keys,
    "old MCP calls and approvals": purge_records,
}
ORPHANS = {"bytes without a file": purge_orphans}


class Command(BaseCommand):
    help = "Erase expired files, files of expired containers, and what is older than is kept."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="Only say how much would be erased."
        )
        parser.add_argument(
            "--orphans",
            action="store_true",
            help="Also look for bytes in the file storage that no file has. Only where the storage "
            "belongs to this database alone.",
        )

    def handle(self, **options: Any) -> None:
        kinds = KINDS | (ORPHANS if options["orphans"] else {})
        try:
            for kind, purge in kinds.items():
                self.stdout.write(f"{kind}: {purge(dry_run=options['dry_run'])}")
        except StorageUnavailable as exc:
            raise CommandError(str(exc)) from exc
