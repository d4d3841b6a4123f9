"""API keys: made and revoked here. A token is on one page, once, and readable nowhere else."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.forms import ModelForm
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from apps.store import keys
from apps.store.admin import new_tokens
from apps.store.admin.display import badge, moment
from apps.store.models import ApiKey, Project

ACTIVE, EXPIRED, REVOKED = "active", "expired", "revoked"
EDITABLE = ["name", "project", "expires_at", "may_prioritize"]
READ_ONLY = ["state", "token", "created", "last_used", "revoked"]
TONES = {ACTIVE: "completed", EXPIRED: "incomplete", REVOKED: "cancelled"}


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[ApiKey]
    ) -> list[tuple[str, str]]:
        return [(state, state.capitalize()) for state in TONES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
        over = Q(expires_at__lte=timezone.now())
        match self.value():
            case "active":
                return queryset.filter(~over, revoked_at=None)
            case "expired":
                return queryset.filter(over, revoked_at=None)
            case "revoked":
                return queryset.exclude(revoked_at=None)
            case _:
                return queryset


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin[ApiKey]):
    list_display = ["name", "state", "token", "project", "last_used", "expires"]
    list_filter = [StateFilter, "project"]
    list_select_related = ["project"]
    search_fields = ["name", "prefix__exact"]
    search_help_text = "Search by name, or by the part of the token after gw_."
    ordering = ["-created_at"]
    actions = ["revoke_selected"]

    class Media:
        css = {"all": ["store/admin.css"]}

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        return EDITABLE if obj is None else [*EDITABLE, *READ_ONLY]

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        # A key stays in its project: what was made with it does.
        return [] if obj is None else ["project", *READ_ONLY]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        default = Project.objects.filter(slug=Project.DEFAULT_SLUG).first()
        return {"project": default} | super().get_changeform_initial_data(request)

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        is_revoked = obj is not None and obj.revoked_at is not None
        return not is_revoked and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        # Runs keep the name of their key, and a database without keys would need none.
        return False

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest) -> bool:
        return not lookup.startswith("digest") and super().lookup_allowed(lookup, value, request)

    @admin.display(description="state")
    def state(self, key: ApiKey) -> SafeString:
        state = REVOKED if key.revoked_at else ACTIVE if key.is_active else EXPIRED
        return badge(TONES[state], state)

    @admin.display(description="token", ordering="prefix")
    def token(self, key: ApiKey) -> str:
        return f"gw_{key.prefix}_…"

    @admin.display(description="created")
    def created(self, key: ApiKey) -> str:
        return moment(key.created_at)

    @admin.display(description="expires", ordering="expires_at")
    def expires(self, key: ApiKey) -> str:
        return moment(key.expires_at) if key.expires_at else "never"

    @admin.display(description="last used", ordering="last_used_at")
    def last_used(self, key: ApiKey) -> str:
        return moment(key.last_used_at) if key.last_used_at else "never"

    @admin.display(description="revoked")
    def revoked(self, key: ApiKey) -> str:
        return moment(key.revoked_at)

    def get_urls(self) -> list[URLPattern]:
        created = self.admin_site.admin_view(self.created_view)
        revoke = self.admin_site.admin_view(self.revoke_view)
        return [
            path("<path:object_id>/created/", created, name="store_apikey_created"),
            path("<path:object_id>/revoke/", revoke, name="store_apikey_revoke"),
            *super().get_urls(),
        ]

    # --- Making one -----------------------------------------------------------------------------

    def get_form(
        self, request: HttpRequest, obj: ApiKey | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        kwargs["help_texts"] = {"expires_at": "In UTC. Without a date the key does not expire."}
        return super().get_form(request, obj, change, **kwargs)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # The page after this one shows the token: no other way on.
        others = {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().add_view(request, form_url, {**(extra_context or {}), **others})

    def save_model(
        self, request: HttpRequest, obj: ApiKey, form: ModelForm[ApiKey], change: bool
    ) -> None:
        if not change:
            # Handed to response_add() by the request, which ends with this page.
            request._gateway_token = keys.mint(obj)  # type: ignore[attr-defined]
        super().save_model(request, obj, form, change)

    @method_decorator(never_cache)
    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Lead to the page that shows the token, whichever button was pressed."""
        page = reverse("admin:store_apikey_created", args=[obj.pk])
        answer = HttpResponseRedirect(page)
        token = request._gateway_token  # type: ignore[attr-defined]
        new_tokens.put(request, answer, token, page=page)
        return answer

    @method_decorator(require_GET)
    @method_decorator(never_cache)
    def created_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The new key with its token; without it from the second time on, and for anybody else."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        key = self._found(request, object_id)
        context = {
            **self._context(request, key),
            "title": f"API key for {key.name}",
            "token": new_tokens.take(request),
        }
        answer = TemplateResponse(request, "admin/store/apikey/created.html", context)
        new_tokens.forget(request, answer)
        return answer

    def _found(self, request: HttpRequest, object_id: str) -> ApiKey:
        key = self.get_object(request, unquote(object_id))
        if key is None:
            raise Http404("No such API key.")
        return key

    def _context(self, request: HttpRequest, key: ApiKey) -> dict[str, Any]:
        shared = {"opts": self.opts, "key": key, "media": self.media}
        return {**self.admin_site.each_context(request), **shared}

    # --- Revoking -------------------------------------------------------------------------------

    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        key = self._found(request, object_id)
        if not super().has_change_permission(request, key):
            raise PermissionDenied
        if request.method == "POST":
            self._revoke(request, [key])
            return HttpResponseRedirect(reverse("admin:store_apikey_change", args=[key.pk]))
        context = {**self._context(request, key), "title": f"Revoke {key}?"}
        return TemplateResponse(request, "admin/store/apikey/revoke.html", context)

    @admin.action(description="Revoke selected API keys", permissions=["change"])
    def revoke_selected(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        self._revoke(request, list(queryset))

    def _revoke(self, request: HttpRequest, selected: list[ApiKey]) -> None:
        revoked = [key for key in selected if keys.revoke(key)]
        for key in revoked:
            self.log_change(request, key, "Revoked.")
        if len(selected) == 1:
            how = "is revoked: requests that carry it get a 401 from now on"
            text = f"{selected[0]} {how if revoked else 'was revoked before'}."
        else:
            text = f"{len(revoked)} of {len(selected)} selected API keys revoked."
        self.message_user(request, text, messages.SUCCESS if revoked else messages.INFO)
