"""Prints a link that logs a superuser into the admin, once, from this machine."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.api import login
from apps.api.management.announcement import local_url


class Command(BaseCommand):
    help = "Print a link into the admin that works once, within 15 minutes, on this machine."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", metavar="NAME", help="Default: the first superuser.")
        parser.add_argument("--port", type=int, default=5969, help="Port of the gateway.")

    def handle(self, **options: Any) -> None:
        if settings.GATEWAY_SECRET_KEY_IS_TEMPORARY:
            raise CommandError(
                "No secret key is set, so the gateway could not check the link. `manage.py serve` "
                "writes one at its first start; else set GATEWAY_SECRET_KEY."
            )
        name = options["user"]
        user = login.superuser(name) if name else login.first_superuser()
        if user is None:
            raise CommandError(
                f"There is no active superuser{f' {name!r}' if name else ''}: "
                "`manage.py createsuperuser` makes one."
            )
        self.stdout.write(login.link(user, local_url("127.0.0.1", options["port"])))
