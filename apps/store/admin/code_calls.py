"""What code was run in containers, and what came of it: a list to read."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.store.admin.display import NOTHING, badge, moment, response_link, seconds
from apps.store.admin.downloads import Readable, preformatted
from apps.store.models import CodeCall

TONES = {"ok": "completed", "error": "incomplete", "cancelled": "cancelled"}


@admin.register(CodeCall)
class CodeCallAdmin(Readable):
    list_display = ["created", "result", "duration", "where", "node", "project"]
    fields = [
        "id",
        "created",
        "result",
        "duration",
        "where",
        "node",
        "project",
        "response",
        "shown_code",
        "shown_output",
    ]
    payload = ("code", "output", "shown_code", "shown_output")
    list_select_related = ["container__project"]
    list_filter = ["outcome", "created_at", "container__project"]
    date_hierarchy = "created_at"
    ordering = ["-created_at", "-pk"]
    search_fields = ["response_id__exact", "container_id__exact", "id__exact"]
    search_help_text = "Search for the whole id of a response, a container or a call."

    def has_delete_permission(self, request: HttpRequest, obj: CodeCall | None = None) -> bool:
        return False

    @admin.display(description="when", ordering="created_at")
    def created(self, call: CodeCall) -> str:
        return moment(call.created_at, precise=True)

    @admin.display(description="outcome", ordering="outcome")
    def result(self, call: CodeCall) -> SafeString:
        return badge(TONES.get(call.outcome, "failed"), call.outcome)

    @admin.display(description="took", ordering="duration_ms")
    def duration(self, call: CodeCall) -> str:
        return seconds(call.duration_ms)

    @admin.display(description="container")
    def where(self, call: CodeCall) -> SafeString:
        url = reverse("admin:store_container_change", args=[call.container_id])
        shortened = f"{call.container_id[:5]}…{call.container_id[-8:]}"
        return format_html('<a href="{}" title="{}">{}</a>', url, call.container_id, shortened)

    @admin.display(description="project")
    def project(self, call: CodeCall) -> str:
        return str(call.container.project)

    @admin.display(description="response")
    def response(self, call: CodeCall) -> SafeString | str:
        return response_link(call.response_id) if call.response_id else NOTHING

    @admin.display(description="code")
    def shown_code(self, call: CodeCall) -> SafeString | str:
        return preformatted(call.code)

    @admin.display(description="output")
    def shown_output(self, call: CodeCall) -> SafeString | str:
        return preformatted(call.output)
