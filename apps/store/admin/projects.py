"""Projects: added and renamed here; deleted only as long as nothing belongs to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from apps.store.models import ApiKey, Project, Response


@admin.register(Project)
class ProjectAdmin(admin.ModelAdmin[Project]):
    list_display = ["name", "slug", "created_at"]
    search_fields = ["name", "slug"]
    prepopulated_fields = {"slug": ["name"]}
    ordering = ["name"]

    def get_readonly_fields(self, request: HttpRequest, obj: Project | None = None) -> list[str]:
        # Requests without a key find the default project by its slug, scripts the others.
        return ["slug", "created_at"] if obj else []

    def get_prepopulated_fields(
        self, request: HttpRequest, obj: Project | None = None
    ) -> dict[str, Any]:
        return {} if obj else self.prepopulated_fields

    def has_delete_permission(self, request: HttpRequest, obj: Project | None = None) -> bool:
        is_default = obj is not None and obj.slug == Project.DEFAULT_SLUG
        return not is_default and super().has_delete_permission(request, obj)

    def get_deleted_objects(
        self, objs: Iterable[Project], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """Nothing is deleted along with a project: whatever belongs to it protects it."""
        projects = list(objs)
        protected = [reason for project in projects for reason in _reasons_to_stay(project)]
        return [str(p) for p in projects], {"projects": len(projects)}, set(), protected


def _reasons_to_stay(project: Project) -> Iterator[str]:
    if project.slug == Project.DEFAULT_SLUG:
        yield f"{project}: requests without a key run in this project"
    if Response.objects.filter(project=project).exists():
        yield f"Responses of {project} (deleted ones count: each leaves a row behind)"
    if ApiKey.objects.filter(project=project).exists():
        yield f"API keys of {project} (revoked ones count: they stay known)"
