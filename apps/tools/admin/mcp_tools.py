"""The tools that a server lists, with the operator's switches: a part of the server's page."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.store.admin.display import NOTHING, badge
from apps.store.models import McpServer, McpTool

HINTS = {
    "readOnlyHint": ("reads only", "changes things"),
    "destructiveHint": ("destructive", "not destructive"),
    "idempotentHint": ("idempotent", None),
    "openWorldHint": ("open world", None),
}
"""What a tool says of itself, if it says yes, and if it says no."""


class McpToolInline(admin.TabularInline[McpTool, McpServer]):
    model = McpTool
    readonly_fields = ["tool", "hints"]
    fields = ["tool", "hints", "enabled", "needs_approval"]
    can_delete = False
    extra = 0
    max_num = 0
    verbose_name_plural = "Tools that the server lists"

    def get_queryset(self, request: HttpRequest) -> QuerySet[McpTool]:
        return super().get_queryset(request).filter(gone_at=None)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="tool")
    def tool(self, tool: McpTool) -> SafeString:
        return format_html(
            '<strong class="gw-code">{}</strong> {}<details><summary>Description and schema'
            '</summary><p class="gw-block">{}</p><pre class="gw-block gw-code">{}</pre>{}</details>',
            tool.name,
            tool.title,
            tool.description or "No description.",
            _pretty(tool.input_schema),
            _output(tool.output_schema),
        )

    @admin.display(description="says of itself")
    def hints(self, tool: McpTool) -> SafeString | str:
        annotations = json.loads(tool.annotations)
        words = [
            word
            for hint, (yes, no) in HINTS.items()
            if hint in annotations and (word := yes if annotations[hint] else no)
        ]
        return format_html_join(" ", "{}", ((badge("plain", word),) for word in words)) or NOTHING


def _output(schema: str) -> SafeString | str:
    if not schema:
        return ""
    return format_html('<p>Result:</p><pre class="gw-block gw-code">{}</pre>', _pretty(schema))


def _pretty(text: str) -> str:
    return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
