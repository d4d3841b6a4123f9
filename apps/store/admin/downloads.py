"""Files of clients and of code, for operators who may see payload: as attachments, never shown."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import FileResponse, Http404, HttpRequest, HttpResponseBase
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from apps.store import blobs
from apps.store.admin.display import NOTHING
from apps.store.admin.large_tables import BoundedPaginator
from apps.store.admin.responses import may_see_payload
from apps.store.errors import StorageUnavailable


class Readable(admin.ModelAdmin[Any]):
    """A page to read. ``payload`` are members that only those see who may see payload."""

    payload: tuple[str, ...] = ()
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    class Media:
        css = {"all": ["store/admin.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_list_display(self, request: HttpRequest) -> Any:
        return self._seen(super().get_list_display(request), request)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self._seen(super().get_fields(request, obj), request)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.get_fields(request, obj)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        hidden = lookup.partition("__")[0] in self.payload
        return not hidden and super().lookup_allowed(lookup, value, request)

    def _seen(self, names: Any, request: HttpRequest) -> list[Any]:
        hidden = () if may_see_payload(request) else self.payload
        return [name for name in names if name not in hidden]


class Downloads(admin.ModelAdmin[Any]):
    """Adds a view that gives the bytes of a row with a ``blob``."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.content)
        name = f"store_{self.opts.model_name}_content"
        return [path("<path:object_id>/content/", view, name=name), *super().get_urls()]

    def content(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        """Raises PermissionDenied, Http404."""
        if not (self.has_view_permission(request) and may_see_payload(request)):
            raise PermissionDenied
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        return attachment(row.blob, self.name_of(row))

    def name_of(self, row: Any) -> str:
        """What the file is called where it is saved."""
        raise NotImplementedError


def attachment(blob: str, name: str) -> HttpResponseBase:
    """The bytes. Raises Http404 where they are lost."""
    try:
        content = blobs.open_now(blob)
    except StorageUnavailable as exc:
        raise Http404(str(exc)) from exc
    reply = FileResponse(
        content, as_attachment=True, filename=name, content_type="application/octet-stream"
    )
    reply["X-Content-Type-Options"] = "nosniff"
    reply["Content-Security-Policy"] = "sandbox; default-src 'none'"
    reply["Cache-Control"] = "private, no-store"
    return reply


def preformatted(text: str) -> SafeString | str:
    """Text whose line breaks mean something."""
    return format_html('<pre class="gw-block gw-code">{}</pre>', text) if text else NOTHING
