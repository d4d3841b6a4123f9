"""The figures on the admin's first page: five small statements, none of which reads a payload.

Those of responses look at more rows the more there are: where there is a cache, all who look share
one answer for some seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode

from django.contrib.auth.models import AnonymousUser, User
from django.core.cache import cache
from django.db.models import F, Q
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone

from apps.store.models import Lease, McpServer, Response
from apps.store.models.mcp_server import OPEN
from apps.store.models.response import RUNNING

FRESH = 10
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, what it counts, and the list behind it."""

    number: int
    label: str
    url: str
    is_alarming: bool = False


def figures(user: User | AnonymousUser) -> list[Figure]:
    """What the user may see of the state of the gateway."""
    found = []
    if user.has_perm("store.view_response"):
        found += _responses()
    if user.has_perm("store.view_lease"):
        alive = Lease.objects.filter(expires_at__gt=Now()).count()
        found.append(Figure(alive, "processes alive", reverse("admin:store_lease_changelist")))
    if user.has_perm("store.view_mcpserver"):
        found += _failing_servers()
    return found


def _failing_servers() -> list[Figure]:
    """MCP servers that may be used and did not answer when they were asked last, if there are any."""
    failed_last = Q(health__last_error_at__gt=F("health__last_success_at"))
    never_worked = Q(health__last_success_at=None, health__last_error_at__isnull=False)
    is_failing = failed_last | never_worked | Q(health__breaker=OPEN)
    number = McpServer.objects.filter(is_failing, enabled=True).count()
    url = f"{reverse('admin:store_mcpserver_changelist')}?enabled__exact=1"
    return [Figure(number, "MCP servers failing", url, is_alarming=True)] if number else []


def _responses() -> list[Figure]:
    now = timezone.now()
    hour_ago = now - timedelta(hours=1)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)

    def count() -> list[int]:
        running = Response.objects.filter(status__in=RUNNING)
        failed = Response.objects.filter(status="failed", created_at__gte=hour_ago)
        today = Response.objects.filter(created_at__gte=midnight)
        return [running.count(), failed.count(), today.count()]

    running, failures, today = cache.get_or_set("overview", count, FRESH) or count()
    return [
        Figure(running, "in progress", _list(status__in=",".join(RUNNING))),
        Figure(
            failures,
            "failed, last hour",
            _list(status__exact="failed", created_at__gte=hour_ago.isoformat()),
            is_alarming=failures > 0,
        ),
        Figure(today, "responses today", _list(created_at__gte=midnight.isoformat())),
    ]


def _list(**lookups: str) -> str:
    return f"{reverse('admin:store_response_changelist')}?{urlencode(lookups)}"
