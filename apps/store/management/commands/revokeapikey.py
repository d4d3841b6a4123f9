"""Revokes an API key, named by its prefix, in every process at once."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.store import keys
from apps.store.models import ApiKey


class Command(BaseCommand):
    help = "Revoke an API key."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "prefix", metavar="PREFIX", help="The part after gw_, or the token itself."
        )

    def handle(self, **options: Any) -> None:
        # A token's secret may hold underscores, its prefix may not.
        prefix = options["prefix"].removeprefix("gw_").split("_")[0]
        key = ApiKey.objects.filter(prefix=prefix).first()
        if key is None:
            raise CommandError(f"There is no API key with the prefix {prefix!r}.")
        if keys.revoke(key):
            self.stdout.write(f"{key} is revoked.")
        else:
            self.stdout.write(f"{key} was revoked at {key.revoked_at:%Y-%m-%d %H:%M} UTC already.")
