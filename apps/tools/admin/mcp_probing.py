"""The buttons that ask a server: *Test connection* and *Refresh tools*. What it answered is told
in our words, never in its own bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asgiref.sync import async_to_sync  # noqa: TID251 - for buttons and actions
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_POST

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


class McpProbing(Base):
    actions = ["test_selected", "refresh_selected"]

    def get_urls(self) -> list[URLPattern]:
        def button(which: str, *, refresh: bool) -> URLPattern:
            def view(request: HttpRequest, object_id: str) -> HttpResponse:
                return self._asked(request, object_id, refresh=refresh)

            return path(
                f"<path:object_id>/{which}/",
                require_POST(self.admin_site.admin_view(view)),
                name=f"store_mcpserver_{which}",
            )

        return [button("test", refresh=False), button("refresh", refresh=True), *super().get_urls()]

    def _asked(self, request: HttpRequest, object_id: str, *, refresh: bool) -> HttpResponse:
        server = self.get_object(request, unquote(object_id))
        if server is None:
            raise Http404("No such MCP server.")
        if not self.has_change_permission(request, server):
            raise PermissionDenied
        self._ask(request, [server], refresh=refresh)
        return HttpResponseRedirect(reverse("admin:store_mcpserver_change", args=[server.pk]))

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
