"""Which processes serve requests: a list to read."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import BooleanField, Count, ExpressionWrapper, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce, Now
from django.http import HttpRequest
from django.utils.safestring import SafeString

from apps.store.admin.display import badge, moment
from apps.store.models import Lease, Response
from apps.store.models.response import RUNNING


@admin.register(Lease)
class LeaseAdmin(admin.ModelAdmin[Lease]):
    list_display = ["owner", "state", "host", "runs", "lease_ends"]
    list_display_links = None
    ordering = ["-expires_at"]
    show_full_result_count = False

    class Media:
        css = {"all": ["store/admin.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Lease | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Lease | None = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Lease]:
        runs = Response.objects.filter(status__in=RUNNING, owner=OuterRef("owner")).order_by()
        counted = runs.values("owner").values(number=Count("*"))
        return (
            super()
            .get_queryset(request)
            .annotate(
                # The database's clock is the one that decides.
                alive=ExpressionWrapper(Q(expires_at__gt=Now()), output_field=BooleanField()),
                runs=Coalesce(Subquery(counted), 0),
            )
        )

    @admin.display(description="state")
    def state(self, lease: Any) -> SafeString:
        return badge("completed", "alive") if lease.alive else badge("failed", "gone")

    @admin.display(description="lease ends", ordering="expires_at")
    def lease_ends(self, lease: Lease) -> str:
        return moment(lease.expires_at, precise=True)

    @admin.display(description="runs in progress")
    def runs(self, lease: Any) -> int:
        return int(lease.runs)
