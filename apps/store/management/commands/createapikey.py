"""Creates an API key and prints its token, this once, on standard output and nothing else there."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from apps.store import keys
from apps.store.models import Project


class Command(BaseCommand):
    help = "Create an API key; its token is printed once and cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="Who or what uses the key.")
        parser.add_argument("--project", metavar="SLUG", default=Project.DEFAULT_SLUG)
        parser.add_argument("--expires-in-days", metavar="N", type=int)
        parser.add_argument(
            "--may-prioritize", action="store_true", help="Its requests may set `priority`."
        )

    def handle(self, **options: Any) -> None:
        project = _project(options["project"])
        key, token = keys.issue(
            project,
            name=options["name"],
            expires_at=_days_from_now(options["expires_in_days"]),
            may_prioritize=options["may_prioritize"],
        )
        self.stdout.write(token)
        self.stderr.write(
            f"{key.name!r} may act for project {project.slug!r}. The token is not kept: store it "
            f"now.\nSend it as `Authorization: Bearer ...`; from now on every request needs a key. "
            f"Undo: manage.py revokeapikey {key.prefix}",
            self.style.NOTICE,
        )


def _project(slug: str) -> Project:
    try:
        return Project.objects.get(slug=slug)
    except Project.DoesNotExist:
        known = ", ".join(Project.objects.order_by("slug").values_list("slug", flat=True)[:20])
        raise CommandError(f"There is no project {slug!r}; there are: {known}.") from None


def _days_from_now(days: int | None) -> datetime | None:
    if days is None:
        return None
    if not 1 <= days <= 36_500:
        raise CommandError(f"--expires-in-days: {days} is not between 1 and 36500.")
    return timezone.now() + timedelta(days=days)
