"""Uploaded files: what there is of which project. Names and content are the clients'."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.store import blobs
from apps.store.admin.display import badge, moment
from apps.store.admin.downloads import Downloads, Readable
from apps.store.models import File


@admin.register(File)
class FileAdmin(Downloads, Readable):
    list_display = ["short_id", "filename", "purpose", "bytes", "created", "expires", "project"]
    fields = ["id", "filename", "purpose", "bytes", "project", "created", "expires", "download"]
    payload = ("filename", "download")
    list_select_related = ["project"]
    list_filter = ["purpose", "project", "created_at"]
    ordering = ["-created_at", "-pk"]
    search_fields = ["id__exact"]
    search_help_text = "Search for the whole id of a file."

    def delete_model(self, request: HttpRequest, obj: File) -> None:
        obj.delete()
        blobs.erase_now([obj.blob])

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[File]) -> None:
        names = list(queryset.values_list("blob", flat=True))
        queryset.delete()
        blobs.erase_now(names)

    def name_of(self, row: Any) -> str:
        return str(row.filename)

    @admin.display(description="id", ordering="created_at")
    def short_id(self, file: File) -> SafeString:
        shortened = f"{file.pk[:5]}…{file.pk[-8:]}"
        return format_html('<span title="{}">{}</span>', file.pk, shortened)

    @admin.display(description="size", ordering="size")
    def bytes(self, file: File) -> str:
        return filesizeformat(file.size)

    @admin.display(description="created", ordering="created_at")
    def created(self, file: File) -> str:
        return moment(file.created_at, precise=True)

    @admin.display(description="expires", ordering="expires_at")
    def expires(self, file: File) -> SafeString | str:
        if file.expires_at is None:
            return "never"
        if file.expires_at <= timezone.now():
            return badge("cancelled", "expired")
        return moment(file.expires_at)

    @admin.display(description="content")
    def download(self, file: File) -> SafeString:
        url = reverse("admin:store_file_content", args=[file.pk])
        return format_html('<a href="{}">Download</a>', url)
