"""MCP servers: added, restricted, tested. Secrets are written and never shown; the programs of
stdio servers are shown and, unless the operator's settings say otherwise, not written."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, Q, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.store.admin.display import NOTHING, badge, moment, seconds
from apps.store.models import Configuration, McpHealth, McpServer
from apps.store.models.mcp_server import OPEN, STDIO, origin
from apps.store.secrets import SecretUnreadable
from apps.tools.admin.mcp_files import McpFiles
from apps.tools.admin.mcp_forms import McpServerForm, may_enter_commands
from apps.tools.admin.mcp_probing import McpProbing
from apps.tools.admin.mcp_tools import McpToolInline

COMMAND = ["command", "args", "env", "cwd"]
SHOWN_COMMAND = ["command", "arguments", "environment", "cwd"]
HTTP = [
    "url",
    "headers",
    "bearer_token",
    "oauth_client_id",
    "oauth_client_secret",
    "oauth_issuer",
    "oauth_scope",
]
LIMITS = [("connect_timeout", "call_timeout"), ("result_limit", "concurrency")]
HEALTH = ["state", "answers_as", "last_success", "latency", "tools_listed", "last_error"]


@admin.register(McpServer)
class McpServerAdmin(McpProbing, McpFiles, admin.ModelAdmin[McpServer]):
    form = McpServerForm
    list_display = ["label", "lately", "place", "tool_count", "used_by"]
    list_filter = ["enabled", "transport", "approval"]
    search_fields = ["label", "description", "url"]
    filter_horizontal = ["projects"]
    ordering = ["label"]
    inlines = [McpToolInline]

    class Media:
        css = {"all": ["store/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[McpServer]:
        listed = Count("tools", filter=Q(tools__gone_at=None))
        return (
            super().get_queryset(request)
            .select_related("health").prefetch_related("projects").annotate(listed=listed)
        )  # fmt: skip

    # --- The form -------------------------------------------------------------------------------

    def get_fieldsets(self, request: HttpRequest, obj: McpServer | None = None) -> Any:
        reach: list[tuple[str, list[Any]]] = []
        if obj is None or not obj.is_stdio:
            reach.append(("Connection", ["transport", *HTTP]))
        if obj is None and may_enter_commands(request):
            reach.append(("Program, for stdio", COMMAND))
        if obj is not None and obj.is_stdio:
            shown = COMMAND if may_enter_commands(request) else SHOWN_COMMAND
            reach.append(("Program", ["transport", *shown]))
        if obj is not None:
            reach.append(("Health", [tuple(HEALTH[:2]), tuple(HEALTH[2:4]), *HEALTH[4:]]))
        return [
            (None, {"fields": ["label", "description", "enabled"]}),
            *((title, {"fields": fields}) for title, fields in reach),
            ("Who may use it", {"fields": ["every_project", "projects", "session_scope"]}),
            ("What it may do", {"fields": ["approval", "allowed_tools", "read_only", "trusted"]}),
            ("Limits", {"fields": LIMITS}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: McpServer | None = None) -> list[str]:
        if obj is None:
            return []
        # The label is what clients' requests and stored responses call it by.
        fixed = ["label", *HEALTH]
        if obj.is_stdio and not may_enter_commands(request):
            return [*fixed, "transport", *SHOWN_COMMAND]
        return [*fixed, "transport"] if obj.is_stdio else fixed

    def get_form(
        self,
        request: HttpRequest,
        obj: McpServer | None = None,
        change: bool = False,
        **kwargs: Any,
    ) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        form.with_commands = may_enter_commands(request)  # type: ignore[attr-defined]
        return form

    def get_inlines(self, request: HttpRequest, obj: McpServer | None) -> Any:
        is_listed = obj is not None and _health(obj).tools_listed_at is not None
        return self.inlines if is_listed else []

    def save_model(
        self, request: HttpRequest, obj: McpServer, form: ModelForm[McpServer], change: bool
    ) -> None:
        erased = form.erased if isinstance(form, McpServerForm) else []
        super().save_model(request, obj, form, change)
        if erased:
            self.message_user(
                request,
                f"{obj} has moved. What was stored for its old place is erased: "
                f"{', '.join(erased)}.",
                messages.WARNING,
            )

    def save_related(self, request: HttpRequest, *args: Any) -> None:
        super().save_related(request, *args)
        Configuration.bump()  # projects and switches of tools count too

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[McpServer]) -> None:
        for server in queryset:
            server.delete()

    # --- What is shown ----------------------------------------------------------------------------

    @admin.display(description="state", ordering="enabled")
    def state(self, server: McpServer) -> SafeString:
        health = _health(server)
        if not server.enabled:
            return badge("cancelled", "disabled")
        if health.breaker == OPEN:
            return badge("failed", "not reached")
        if health.last_success_at is None and health.last_error_at is None:
            return badge("plain", "never asked")
        failed = health.last_error_at is not None and (
            health.last_success_at is None or health.last_error_at > health.last_success_at
        )
        return badge("incomplete", "last try failed") if failed else badge("completed", "works")

    @admin.display(description="where")
    def place(self, server: McpServer) -> str:
        if server.transport == STDIO:
            return f"stdio: {PurePath(server.command).name}"
        scheme, host, port = origin(server.url)
        usual = {"http": 80, "https": 443}.get(scheme) == port
        return f"{scheme}://{host}" + ("" if usual else f":{port}")

    @admin.display(description="tools", ordering="listed")
    def tool_count(self, server: McpServer) -> str:
        is_known = _health(server).tools_listed_at is not None
        return str(vars(server)["listed"]) if is_known else NOTHING

    @admin.display(description="projects")
    def used_by(self, server: McpServer) -> str:
        if server.every_project:
            return "all"
        return ", ".join(project.slug for project in server.projects.all()) or "none"

    @admin.display(description="state, last success", ordering="health__last_success_at")
    def lately(self, server: McpServer) -> SafeString:
        success = _health(server).last_success_at
        shown = self.state(server)
        return format_html("{}<br><small>{}</small>", shown, moment(success)) if success else shown

    @admin.display(description="last success")
    def last_success(self, server: McpServer) -> str:
        return moment(_health(server).last_success_at, precise=True)

    @admin.display(description="last error")
    def last_error(self, server: McpServer) -> str:
        health = _health(server)
        if health.last_error_at is None:
            return NOTHING
        retry = (
            f" Tried again from {moment(health.retry_at, precise=True)}." if health.retry_at else ""
        )
        return f"{moment(health.last_error_at, precise=True)}: {health.last_error}{retry}"

    @admin.display(description="latency")
    def latency(self, server: McpServer) -> str:
        return seconds(_health(server).latency_ms)

    @admin.display(description="answers as")
    def answers_as(self, server: McpServer) -> str:
        health = _health(server)
        return f"{health.server_name} {health.server_version}".strip() or NOTHING

    @admin.display(description="tools listed")
    def tools_listed(self, server: McpServer) -> str:
        listed = _health(server).tools_listed_at
        return moment(listed, precise=True) if listed else "never: press Save and refresh tools"

    @admin.display(description="arguments")
    def arguments(self, server: McpServer) -> SafeString:
        return _lines(server.args)

    @admin.display(description="environment")
    def environment(self, server: McpServer) -> SafeString | str:
        """Names: values may be secrets."""
        try:
            return _lines([f"{name}=…" for name in server.env.reveal_mapping()])
        except SecretUnreadable as exc:
            return str(exc)


def _health(server: McpServer) -> McpHealth:
    """An empty one for a server that was never asked."""
    return getattr(server, "health", None) or McpHealth(server=server)


def _lines(lines: list[str]) -> SafeString:
    shown = format_html_join("\n", "{}", ((line,) for line in lines))
    return format_html('<pre class="gw-block gw-code">{}</pre>', shown or NOTHING)
