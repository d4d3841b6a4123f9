"""Containers of the code interpreter: whose they are, whether they live, what is in them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Max, QuerySet
from django.http import Http404, HttpRequest, HttpResponseBase
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.store import containers
from apps.store.admin.display import NOTHING, badge, moment, response_link
from apps.store.admin.downloads import Readable, attachment
from apps.store.admin.responses import may_see_payload
from apps.store.models import Container, ContainerFile
from apps.tools.code_interpreter.discard import discard_containers

FILES_SHOWN = 200
RESPONSES_SHOWN = 20


@admin.register(Container)
class ContainerAdmin(Readable):
    list_display = ["short_id", "state", "name", "used", "files", "node", "project"]
    fields = [
        ("id", "state"),
        ("name", "project"),
        ("node", "epoch"),
        ("used", "created"),
        ("idle_minutes", "memory_limit"),
        ("calls", "files"),
        "used_by",
        "contents",
    ]
    payload = ("contents",)
    list_select_related = ["project"]
    list_filter = ["project", "node", "created_at"]
    ordering = ["-last_active_at", "-pk"]
    search_fields = ["id__exact", "name__exact"]
    search_help_text = "Search for the whole id or name of a container."
    actions = ["kill"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Container]:
        rows: QuerySet[Container] = super().get_queryset(request)
        return rows.annotate(file_count=Count("files"))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        lines = self.get_fields(request, obj)
        return [name for line in lines for name in ([line] if isinstance(line, str) else line)]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_kill_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("store.delete_container")

    @admin.action(description="Kill selected containers", permissions=["kill"])
    def kill(self, request: HttpRequest, queryset: QuerySet[Container]) -> None:
        """They are as if they had not been used for too long: never again, for anybody."""
        chosen = list(queryset.values_list("pk", flat=True))
        killed = containers.expire_containers(chosen)
        discard_containers(chosen)
        self.message_user(request, f"Containers killed: {killed}.", messages.SUCCESS)

    # --- Files ------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.file_content)
        name = "store_container_file"
        return [
            path("<str:container_id>/files/<str:file_id>/", view, name=name),
            *super().get_urls(),
        ]

    def file_content(
        self, request: HttpRequest, container_id: str, file_id: str
    ) -> HttpResponseBase:
        """Raises PermissionDenied, Http404."""
        if not (self.has_view_permission(request) and may_see_payload(request)):
            raise PermissionDenied
        file = ContainerFile.objects.filter(pk=file_id, container_id=container_id).first()
        if file is None:
            raise Http404
        return attachment(file.blob, file.path.rsplit("/", 1)[-1])

    # --- Columns and lines ------------------------------------------------------------------------

    @admin.display(description="id")
    def short_id(self, container: Container) -> SafeString:
        shortened = f"{container.pk[:5]}…{container.pk[-8:]}"
        return format_html('<span title="{}">{}</span>', container.pk, shortened)

    @admin.display(description="state", ordering="expires_at")
    def state(self, container: Container) -> SafeString:
        if container.deleted_at:
            return badge("plain", "deleted")
        if container.expires_at <= timezone.now():
            return badge("cancelled", "expired")
        return badge("completed", "running")

    @admin.display(description="files", ordering="file_count")
    def files(self, container: Any) -> int:
        return int(container.file_count)

    @admin.display(description="last used", ordering="last_active_at")
    def used(self, container: Container) -> str:
        return moment(container.last_active_at, precise=True)

    @admin.display(description="created", ordering="created_at")
    def created(self, container: Container) -> str:
        return moment(container.created_at, precise=True)

    @admin.display(description="calls")
    def calls(self, container: Container) -> SafeString | str:
        number = container.calls.count()
        url = f"{reverse('admin:store_codecall_changelist')}?q={container.pk}"
        return format_html('<a href="{}">{}</a>', url, number) if number else NOTHING

    @admin.display(description="used by")
    def used_by(self, container: Container) -> SafeString | str:
        """The responses that ran code in it, the latest first."""
        found = container.calls.values("response_id").annotate(last=Max("created_at"))
        ids = [call["response_id"] for call in found.order_by("-last")[: RESPONSES_SHOWN + 1]]
        links = [(response_link(pk),) for pk in ids[:RESPONSES_SHOWN]]
        if len(ids) > RESPONSES_SHOWN:
            links.append((SafeString("and earlier ones"),))
        return format_html_join(SafeString("<br>"), "{}", links) or NOTHING

    @admin.display(description="content")
    def contents(self, container: Container) -> SafeString | str:
        rows = container.files.order_by("path")[:FILES_SHOWN]
        lines = ((_url(file), file.path, filesizeformat(file.size), file.source) for file in rows)
        link = '<a href="{}" title="Download">{}</a> ({}, by the {})'
        return format_html_join(SafeString("<br>"), link, lines) or NOTHING


def _url(file: ContainerFile) -> str:
    return reverse("admin:store_container_file", args=[file.container_id, file.pk])
