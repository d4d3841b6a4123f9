"""Import and export of ``mcp.json`` in the admin: without commands, unless they may be entered
here, and without secrets on the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from apps.store.encryption import NoEncryptionKey
from apps.store.models import McpServer
from apps.store.secrets import SecretUnreadable
from apps.tools.admin.mcp_forms import McpJsonForm, may_enter_commands
from apps.tools.mcp import importing, mcp_json

if TYPE_CHECKING:
    Base = admin.ModelAdmin[McpServer]
else:
    Base = object


class McpFiles(Base):
    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("import/", view(self.import_view), name="store_mcpserver_import"),
            path("export/", view(self.export_view), name="store_mcpserver_export"),
            *super().get_urls(),
        ]

    def import_view(self, request: HttpRequest) -> HttpResponse:
        if not (self.has_add_permission(request) and self.has_change_permission(request)):
            raise PermissionDenied
        is_sent = request.method == "POST"
        form = McpJsonForm(request.POST, request.FILES) if is_sent else McpJsonForm()
        if is_sent and form.is_valid():
            try:
                done = self._import(request, form.cleaned_data["content"])
            except mcp_json.McpJsonError as exc:
                for problem in exc.problems:
                    form.add_error(None, problem)
            except (NoEncryptionKey, SecretUnreadable) as exc:
                form.add_error(None, str(exc))
            else:
                self._tell(request, done)
                return HttpResponseRedirect(reverse("admin:store_mcpserver_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            "title": "Import an mcp.json",
            "form": form,
            "with_commands": may_enter_commands(request),
        }
        return TemplateResponse(request, "admin/store/mcpserver/import.html", context)

    def _import(self, request: HttpRequest, content: Any) -> importing.Imported:
        entries = mcp_json.parse(content, lookup=importing.nothing)
        return importing.apply(entries, with_commands=may_enter_commands(request))

    def _tell(self, request: HttpRequest, done: importing.Imported) -> None:
        for server in McpServer.objects.filter(label__in=done.added):
            self.log_addition(request, server, "Imported.")
        for server in McpServer.objects.filter(label__in=done.changed):
            self.log_change(request, server, "Imported.")
        self.message_user(request, done.summary, messages.SUCCESS)
        for remark in done.remarks:
            self.message_user(request, remark, messages.WARNING)

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        if not self.has_view_permission(request):
            raise PermissionDenied
        servers: QuerySet[McpServer] = McpServer.objects.prefetch_related("projects", "tools")
        try:
            text = mcp_json.dump(servers)
        except SecretUnreadable as exc:
            self.message_user(request, str(exc), messages.ERROR)
            return HttpResponseRedirect(reverse("admin:store_mcpserver_changelist"))
        return HttpResponse(
            text,
            content_type="application/json",
            headers={"Content-Disposition": 'attachment; filename="mcp.json"'},
        )
