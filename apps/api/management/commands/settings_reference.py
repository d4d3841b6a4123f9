"""Writes the reference page of all settings, or says whether it is up to date."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.api.management.reference import page_path, render


class Command(BaseCommand):
    help = "Write docs/reference/settings.md from the declarations of the settings."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="Write nothing; fail if it would.")

    def handle(self, **options: Any) -> None:
        path = page_path()
        if options["check"]:
            if not path.exists() or path.read_text(encoding="utf-8") != render():
                raise CommandError(f"{path} is out of date: run `manage.py settings_reference`.")
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(render(), encoding="utf-8")
        self.stdout.write(str(path))
