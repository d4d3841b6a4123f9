"""Responses: every run for whoever may see runs, what was said for whoever may see payload."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.actions import delete_selected
from django.db.models import OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from apps.store.admin.conversation import printable
from apps.store.admin.display import NOTHING, badge, moment, response_link, seconds
from apps.store.admin.large_tables import BoundedPaginator
from apps.store.admin.transcript import resource, transcript
from apps.store.errors import ResponseNotFound
from apps.store.leases import valid_lease
from apps.store.models import Response
from apps.store.models.response import RUNNING
from apps.store.responses import delete_response

DELETE_LIMIT = 1_000
RECENT_RUNS = 1_000
CONTINUATIONS_SHOWN = 20


class ModelFilter(admin.SimpleListFilter):
    """The models of the latest runs: all models ever used would cost a look at each row."""

    title = "model"
    parameter_name = "model"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Response]
    ) -> list[tuple[str, str]]:
        latest = Response.objects.order_by("-created_at").values_list("model", flat=True)
        names = {*latest[:RECENT_RUNS], request.GET.get(self.parameter_name, "")}
        return [(name, name) for name in sorted(names - {""})]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Response]) -> QuerySet[Response]:
        return queryset.filter(model=self.value()) if self.value() else queryset


class ContentFilter(admin.SimpleListFilter):
    title = "content"
    parameter_name = "content"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Response]
    ) -> list[tuple[str, str]]:
        return [("kept", "Kept"), ("not_kept", "Not kept"), ("deleted", "Deleted")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Response]) -> QuerySet[Response]:
        match self.value():
            case "kept":
                return queryset.filter(kept=True, deleted_at=None)
            case "not_kept":
                return queryset.filter(kept=False)
            case "deleted":
                return queryset.exclude(deleted_at=None)
            case _:
                return queryset


@admin.register(Response)
class ResponseAdmin(admin.ModelAdmin[Response]):
    list_display = [
        "short_id",
        "state",
        "model_name",
        "tokens",
        "duration",
        "created",
        "project_name",
    ]
    list_filter = ["status", ModelFilter, "project", "created_at", ContentFilter, "streamed"]
    list_per_page = 50
    date_hierarchy = "created_at"
    ordering = ["-created_at"]
    # With their lookups written out, both find their index; "=id" would compare without case.
    search_fields = ["id__exact", "request_id__exact"]
    search_help_text = "Search for the whole id of a response or of a request (x-request-id)."
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER  # each would be a count of the table
    paginator = BoundedPaginator
    actions = ["delete_selected"]

    class Media:
        css = {"all": ["store/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Response]:
        rows = super().get_queryset(request).select_related("project", "api_key")
        return rows.annotate(alive=valid_lease(OuterRef("owner")))

    # --- What may be done -----------------------------------------------------------------------

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Response | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Response | None = None) -> bool:
        holds_something = obj is None or (obj.kept and obj.deleted_at is None)
        return holds_something and super().has_delete_permission(request, obj)

    def delete_model(self, request: HttpRequest, obj: Response) -> None:
        with suppress(ResponseNotFound):  # somebody else was faster
            delete_response(obj.pk, project_id=obj.project_id)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Response]) -> None:
        for response in queryset:
            self.delete_model(request, response)

    def get_deleted_objects(
        self, objs: Iterable[Response], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """Ids only: Django's own collection would list each item."""
        ids = [response.pk for response in objs]
        return ids, {"responses": len(ids)}, set(), []

    @admin.action(description="Delete the content of selected responses", permissions=["delete"])
    def delete_selected(
        self, request: HttpRequest, queryset: QuerySet[Response]
    ) -> HttpResponse | None:
        number = queryset.order_by()[: DELETE_LIMIT + 1].count()
        if number > DELETE_LIMIT:
            text = f"At most {DELETE_LIMIT:,} responses can be deleted at once."
            self.message_user(request, text, messages.ERROR)
            return None
        deletable = queryset.filter(kept=True, deleted_at=None)
        if not deletable.exists():
            self.message_user(request, "Nothing is kept of these responses.", messages.WARNING)
            return None
        answer: HttpResponse | None = delete_selected(self, request, deletable)
        return answer

    # --- The page of one response ---------------------------------------------------------------

    def get_fieldsets(self, request: HttpRequest, obj: Response | None = None) -> Any:
        if obj is None:
            return []
        failure: list[tuple[str, ...]] = [
            ("error_code", "error_stage"),
            ("upstream_status", "upstream_attempts"),
        ]
        if may_see_payload(request):
            failure.append(("error_message",))
        has_failed = obj.status == "failed" or obj.error_code
        return [
            (None, {"fields": [("state", "model"), ("project_name", "key"), ("id", "request_id")]}),
            *([("Where it failed", {"fields": failure})] if has_failed else []),
            (
                "Time and tokens",
                {
                    "fields": [
                        ("created", "ended"),
                        ("duration", "first_token"),
                        ("input", "output"),
                        ("turns", "tool_calls"),
                        ("delivery", "process"),
                    ]
                },
            ),
            ("Chain", {"fields": ["preceding", "first", "continuations"]}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Response | None = None) -> list[str]:
        lines = [
            line for _, options in self.get_fieldsets(request, obj) for line in options["fields"]
        ]
        return [name for line in lines for name in ([line] if isinstance(line, str) else line)]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        response, with_history = context["original"], "history" in request.GET
        if may_see_payload(request):
            context["transcript"] = transcript(response, with_history=with_history)
        context["with_history"] = with_history
        return super().render_change_form(request, context, *args, **kwargs)

    # --- Columns and lines ----------------------------------------------------------------------

    @admin.display(description="id")
    def short_id(self, response: Response) -> SafeString:
        # The first digits are the time, which has a column of its own.
        shortened = f"{response.pk[:5]}…{response.pk[-8:]}"
        return format_html('<span title="{}">{}</span>', response.pk, shortened)

    @admin.display(description="state", ordering="status")
    def state(self, response: Any) -> SafeString:
        if response.status in RUNNING and not response.alive:
            words = [("failed", "failed"), ("failed", "process gone")]
        else:
            words = [(response.status, response.status.replace("_", " "))]
        if response.deleted_at:
            words.append(("plain", "deleted"))
        if not response.kept:
            words.append(("plain", "not kept"))
        shown = format_html_join(" ", "{}", ([badge(*word)] for word in words))
        if not response.error_code:
            return shown
        # In pieces, since the column is narrow.
        code = format_html_join(
            SafeString("_<wbr>"), "{}", ((piece,) for piece in response.error_code.split("_"))
        )
        return format_html("{}<br><small>{}</small>", shown, code)

    @admin.display(description="tokens", ordering="output_tokens")
    def tokens(self, response: Response) -> SafeString:
        numbers = (f"{response.input_tokens:,}", f"{response.output_tokens:,}")
        return format_html("{} in<br>{} out", *numbers)

    @admin.display(description="model")
    def model_name(self, response: Response) -> SafeString:
        # A narrow column breaks a path where one would break it by hand.
        return format_html_join(
            SafeString("/<wbr>"), "{}", ((p,) for p in response.model.split("/"))
        )

    @admin.display(description="duration", ordering="duration_ms")
    def duration(self, response: Response) -> str:
        if response.status in RUNNING:
            so_far = timezone.now() - response.created_at
            return f"{seconds(int(so_far.total_seconds() * 1000))} so far"
        return seconds(response.duration_ms)

    @admin.display(description="created", ordering="created_at")
    def created(self, response: Response) -> str:
        return moment(response.created_at, precise=True)

    @admin.display(description="ended")
    def ended(self, response: Response) -> str:
        return moment(response.ended_at, precise=True)

    @admin.display(description="answer")
    def delivery(self, response: Response) -> str:
        return "streamed" if response.streamed else "in one piece"

    @admin.display(description="process")
    def process(self, response: Response) -> str:
        return response.owner

    @admin.display(description="project")
    def project_name(self, response: Response) -> str:
        return str(response.project)

    @admin.display(description="first token after")
    def first_token(self, response: Response) -> str:
        return seconds(response.first_token_ms)

    @admin.display(description="API key")
    def key(self, response: Response) -> str:
        return str(response.api_key) if response.api_key else "none"

    @admin.display(description="input tokens")
    def input(self, response: Response) -> str:
        return f"{response.input_tokens:,}, {response.cached_tokens:,} of them cached"

    @admin.display(description="output tokens")
    def output(self, response: Response) -> str:
        return f"{response.output_tokens:,}, {response.reasoning_tokens:,} of them reasoning"

    @admin.display(description="error message")
    def error_message(self, response: Response) -> str:
        error = resource(response).get("error")
        return printable(str(error.get("message", ""))) if isinstance(error, dict) else NOTHING

    @admin.display(description="previous")
    def preceding(self, response: Response) -> SafeString | str:
        return response_link(response.previous_id) if response.previous_id else NOTHING

    @admin.display(description="root")
    def first(self, response: Response) -> SafeString | str:
        return "itself" if response.root_id == response.pk else response_link(response.root_id)

    @admin.display(description="continued by")
    def continuations(self, response: Response) -> SafeString | str:
        later = Response.objects.filter(root=response.root_id, previous=response.pk)
        found = later.order_by("created_at").values_list("pk", flat=True)
        ids = list(found[: CONTINUATIONS_SHOWN + 1])
        links = [(response_link(pk),) for pk in ids[:CONTINUATIONS_SHOWN]]
        if len(ids) > CONTINUATIONS_SHOWN:
            links.append((SafeString("and more"),))
        return format_html_join(SafeString("<br>"), "{}", links) or NOTHING


def may_see_payload(request: HttpRequest) -> bool:
    """Prompts are personal data: seeing that there was a run does not mean seeing what it said."""
    return request.user.has_perm("store.view_payload")
