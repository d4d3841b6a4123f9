"""Becomes a sandbox worker: a Celery worker that runs code, without the gateway's secrets."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.api.management.sandbox_worker import become, problem


class Command(BaseCommand):
    help = "Run a sandbox worker, which Celery gives the code of code_interpreter calls."
    requires_system_checks: list[str] = []  # it needs none of what they check

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--max-sessions", type=int, metavar="N", help="Interpreters at a time.")

    def handle(self, **options: Any) -> None:
        if text := problem():
            raise CommandError(text)
        become(max_sessions=options["max_sessions"])
