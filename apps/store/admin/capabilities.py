"""What each model can do: a list to read."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from apps.store.admin.display import badge, moment
from apps.store.models import Capability

STATES = {True: ("completed", "works"), False: ("failed", "does not work"), None: ("plain", "-")}


@admin.register(Capability)
class CapabilityAdmin(admin.ModelAdmin[Capability]):
    list_display = ["model", "capability", "state", "detail", "version", "checked"]
    list_display_links = None
    list_filter = ["capability", "works"]
    search_fields = ["model"]
    ordering = ["model", "capability"]
    show_full_result_count = False

    class Media:
        css = {"all": ["store/admin.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Capability | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Capability | None = None) -> bool:
        return False

    @admin.display(description="state", ordering="works")
    def state(self, capability: Capability) -> SafeString:
        return badge(*STATES[capability.works])

    @admin.display(description="upstream", ordering="upstream_version")
    def version(self, capability: Capability) -> str:
        return capability.upstream_version or "-"

    @admin.display(description="checked", ordering="checked_at")
    def checked(self, capability: Capability) -> str:
        return moment(capability.checked_at, precise=True)
