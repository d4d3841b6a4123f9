"""The buttons that ask a server: *Save and test connection*, *Save and refresh tools*. What it
answered is told in our words, never in its own bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync  # noqa: TID251 - for buttons and actions
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from apps.store import mcp_servers
from apps.store.admin.display import seconds
from apps.store.models import McpServer
from apps.store.secrets import SecretUnreadable
from apps.tools.mcp.asking import ask

if TYPE_CHECKING:
    from apps.tools.mcp.probe import Probe

    Base = admin.ModelAdmin[McpServer]
else:
    Base = object


TEST, REFRESH = "test", "refresh"
"""Values of the buttons in submit_line.html."""


class McpProbing(Base):
    actions = ["test_selected", "refresh_selected"]
    save_on_top = True  # there may be hundreds of tools above the buttons at the end

    def save_related(
        self, request: HttpRequest, form: ModelForm[McpServer], formsets: Any, change: bool
    ) -> None:
        super().save_related(request, form, formsets, change)
        request._gateway_saved = form.instance  # type: ignore[attr-defined]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """What was entered is saved before it is asked: here, where the transaction of that is
        over. A server may take its time."""
        answer = super().changeform_view(request, object_id, form_url, extra_context)
        saved, button = getattr(request, "_gateway_saved", None), request.POST.get("_continue")
        if saved and button in {TEST, REFRESH} and self.has_change_permission(request, saved):
            self._ask(request, [saved], refresh=button == REFRESH)
        return answer

    @admin.action(description="Test connection", permissions=["change"])
    def test_selected(self, request: HttpRequest, queryset: QuerySet[McpServer]) -> None:
        self._ask(request, list(queryset), refresh=False)

    @admin.action(description="Refresh tools", permissions=["change"])
    def refresh_selected(self, request: HttpRequest, queryset: QuerySet[McpServer]) -> None:
        self._ask(request, list(queryset), refresh=True)

    def _ask(self, request: HttpRequest, servers: list[McpServer], *, refresh: bool) -> None:
        specs = []
        for server in servers:
            try:
                specs.append(mcp_servers.spec(server))
            except SecretUnreadable as exc:
                self.message_user(request, f"MCP server {server}: {exc}", messages.ERROR)
        by_id = {server.pk: server for server in servers}
        for spec, probe in zip(specs, async_to_sync(ask)(specs), strict=True):
            changed = probe.keep(spec.id, tools=refresh)
            text = _told(probe, refresh=refresh, changed=changed)
            self.message_user(
                request,
                f"MCP server {spec.label}: {text}",
                messages.ERROR if probe.error else messages.SUCCESS,
            )
            self.log_change(request, by_id[spec.id], f"Asked the server: {text}")


def _told(probe: Probe, *, refresh: bool, changed: bool) -> str:
    if probe.error:
        return f"{probe.error} ({seconds(probe.latency_ms)})"
    count = f"{len(probe.tools)} tool{'' if len(probe.tools) == 1 else 's'}"
    if not refresh:
        return f"it answered after {seconds(probe.latency_ms)} and has {count}."
    news = "The list has changed." if changed else "Nothing has changed."
    return f"it listed {count} after {seconds(probe.latency_ms)}. {news}"
