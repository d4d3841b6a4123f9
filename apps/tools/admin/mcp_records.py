"""What requests did with MCP servers: lists to read. Arguments, reasons and the words of an error
are payload, and shown to those alone who may read payloads."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.store.admin.display import NOTHING, badge, moment, response_link, seconds
from apps.store.admin.large_tables import BoundedPaginator
from apps.store.models import McpApproval, McpCall
from apps.store.models.mcp_record import APPROVED, CANCELLED, OK

TONES = {OK: "completed", CANCELLED: "cancelled"}
NOT_KEPT = "not kept"
PAYLOAD = ("arguments", "error", "reason")


class _Record(admin.ModelAdmin[Any]):
    """A page to read."""

    list_select_related = ["project", "api_key"]
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    search_fields = ["response_id__exact", "label__exact", "tool__exact"]
    search_help_text = "Search by the id of a response, a server's label or a tool's name."

    class Media:
        css = {"all": ["store/admin.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        payload = lookup.partition("__")[0] in PAYLOAD
        return not payload and super().lookup_allowed(lookup, value, request)

    @admin.display(description="server", ordering="label")
    def called(self, record: Any) -> str:
        return str(record.label) if record.server_id else f"{record.label} (of the request)"

    @admin.display(description="who")
    def who(self, record: Any) -> str:
        key = f", {record.api_key.name}" if record.api_key else ""
        return f"{record.project}{key}"

    @admin.display(description="response")
    def response(self, record: Any) -> SafeString:
        return response_link(record.response_id)

    @admin.display(description="arguments")
    def shown_arguments(self, record: Any) -> SafeString | str:
        return _json(record.arguments) if record.arguments else NOT_KEPT


@admin.register(McpCall)
class McpCallAdmin(_Record):
    list_display = ["started", "called", "tool", "who", "result", "duration"]
    list_filter = ["outcome", "started_at", "project"]
    date_hierarchy = "started_at"
    ordering = ["-started_at", "-pk"]

    def get_fields(self, request: HttpRequest, obj: McpCall | None = None) -> Any:
        fields = ["started", "called", "tool", "who", "response", "item_id", "result", "duration"]
        if request.user.has_perm("store.view_payload"):
            fields += ["shown_arguments", "error"]
        return fields

    @admin.display(description="started", ordering="started_at")
    def started(self, call: McpCall) -> str:
        return moment(call.started_at, precise=True)

    @admin.display(description="outcome", ordering="outcome")
    def result(self, call: McpCall) -> SafeString:
        return badge(TONES.get(call.outcome, "failed"), call.outcome.replace("_", " "))

    @admin.display(description="took", ordering="duration_ms")
    def duration(self, call: McpCall) -> str:
        return seconds(call.duration_ms)


@admin.register(McpApproval)
class McpApprovalAdmin(_Record):
    list_display = ["requested", "called", "tool", "who", "answer", "decided"]
    list_filter = ["decision", "requested_at", "project"]
    date_hierarchy = "requested_at"
    ordering = ["-requested_at", "-pk"]

    def get_fields(self, request: HttpRequest, obj: McpApproval | None = None) -> Any:
        fields = [
            "requested",
            "called",
            "tool",
            "who",
            "response",
            "request_id",
            "answer",
            "decided",
            "called_by",
        ]
        if request.user.has_perm("store.view_payload"):
            fields += ["shown_arguments", "shown_reason"]
        return fields

    @admin.display(description="requested", ordering="requested_at")
    def requested(self, approval: McpApproval) -> str:
        return moment(approval.requested_at, precise=True)

    @admin.display(description="decision", ordering="decision")
    def answer(self, approval: McpApproval) -> SafeString:
        tone = "completed" if approval.decision == APPROVED else "failed"
        return badge(tone if approval.decision else "plain", approval.decision or "none yet")

    @admin.display(description="decided", ordering="decided_at")
    def decided(self, approval: McpApproval) -> str:
        return moment(approval.decided_at, precise=True)

    @admin.display(description="call made by")
    def called_by(self, approval: McpApproval) -> SafeString | str:
        return response_link(approval.used_by) if approval.used_by else NOTHING

    @admin.display(description="reason")
    def shown_reason(self, approval: McpApproval) -> str:
        return approval.reason or NOTHING


def _json(text: str) -> SafeString:
    """Indented, if it is JSON and not too deep: long arguments are cut."""
    with contextlib.suppress(ValueError, RecursionError):
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return format_html('<pre class="gw-block gw-code">{}</pre>', text)
