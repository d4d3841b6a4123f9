"""The admin of projects: what belongs to somebody is not deleted along with its owner."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from apps.store import keys
from apps.store.models import Project
from tests.store.factories import make_project, make_response

pytestmark = pytest.mark.django_db

LIST = reverse("admin:store_project_changelist")


def delete(client: Client, project: Project) -> str:
    url = reverse("admin:store_project_delete", args=[project.pk])
    return client.post(url, {"post": "yes"}, follow=True).content.decode()


def test_an_empty_project_can_be_deleted(admin_client: Client) -> None:
    project = make_project()
    assert "was deleted successfully" in delete(admin_client, project)
    assert not Project.objects.filter(pk=project.pk).exists()


def test_a_project_with_responses_stays_and_says_why(admin_client: Client) -> None:
    project = make_project(name="Research")
    make_response(project=project)
    assert "Responses of Research" in delete(admin_client, project)
    assert Project.objects.filter(pk=project.pk).exists()


def test_a_project_with_keys_stays_and_says_why(admin_client: Client) -> None:
    project = make_project(name="Research")
    keys.revoke(keys.issue(project, name="laptop")[0])
    assert "API keys of Research" in delete(admin_client, project)
    assert Project.objects.filter(pk=project.pk).exists()


def test_the_default_project_stays(admin_client: Client) -> None:
    default = Project.objects.get(slug=Project.DEFAULT_SLUG)
    assert "403 Forbidden" in delete(admin_client, default)
    asked = {"action": "delete_selected", "_selected_action": [default.pk], "post": "yes"}
    html = admin_client.post(LIST, asked).content.decode()
    assert "requests without a key run in this project" in html
    assert Project.objects.filter(pk=default.pk).exists()


def test_a_selection_with_one_that_must_stay_is_left_alone(admin_client: Client) -> None:
    empty, used = make_project(), make_project(name="Research")
    make_response(project=used)
    asked = {"action": "delete_selected", "_selected_action": [empty.pk, used.pk], "post": "yes"}
    assert "Responses of Research" in admin_client.post(LIST, asked).content.decode()
    assert Project.objects.filter(pk__in=[empty.pk, used.pk]).count() == 2


def test_a_project_is_added_and_renamed_but_keeps_its_slug(admin_client: Client) -> None:
    admin_client.post(reverse("admin:store_project_add"), {"name": "Research", "slug": "research"})
    project = Project.objects.get(slug="research")
    url = reverse("admin:store_project_change", args=[project.pk])
    admin_client.post(url, {"name": "Team Research", "slug": "another"})
    project.refresh_from_db()
    assert (project.name, project.slug) == ("Team Research", "research")
