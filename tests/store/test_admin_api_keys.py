"""The admin of API keys: the token is seen once, and a key ends but does not vanish."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from apps.store import keys
from apps.store.models import ApiKey, Project
from tests.store.factories import make_project

pytestmark = pytest.mark.django_db

LIST = reverse("admin:store_apikey_changelist")
ADD = reverse("admin:store_apikey_add")
TOKEN = re.compile(r"gw_[a-z0-9]{12}_[\w-]{43}")


def staff(*codenames: str) -> Client:
    user = User.objects.create_user("keeper", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def url(name: str, key: ApiKey) -> str:
    return reverse(f"admin:store_apikey_{name}", args=[key.pk])


def filled_in(**fields: Any) -> dict[str, Any]:
    project = Project.objects.get(slug=Project.DEFAULT_SLUG).pk
    return {"name": "laptop", "project": project, "expires_at_0": "", "expires_at_1": ""} | fields


@pytest.mark.parametrize("may", [True, False])
def test_whether_a_key_may_set_priorities_is_a_checkbox(may: bool) -> None:
    client = staff("add_apikey", "view_apikey", "change_apikey")
    ticked = {"may_prioritize": "on"} if may else {}
    answer = client.post(ADD, filled_in(**ticked), follow=True)
    (token,) = set(TOKEN.findall(answer.content.decode()))
    principal = keys.authenticate(token)
    assert principal is not None
    assert principal.may_prioritize == may
    turned = filled_in() if may else filled_in(may_prioritize="on")
    assert client.post(url("change", ApiKey.objects.get()), turned).status_code == 302
    principal = keys.authenticate(token)
    assert principal is not None
    assert principal.may_prioritize != may


def test_a_new_token_is_shown_once_and_kept_nowhere() -> None:
    client = staff("add_apikey", "view_apikey")
    redirect = client.post(ADD, filled_in())
    key = ApiKey.objects.get()
    assert (redirect.status_code, redirect["Location"]) == (302, url("created", key))
    before = f"{redirect.headers}{redirect.content!r}{everything_kept(client)}"
    answer = client.get(url("created", key))
    (token,) = set(TOKEN.findall(answer.content.decode()))
    assert keys.authenticate(token) is not None
    assert answer.headers["Cache-Control"].startswith("max-age=0, no-cache, no-store")
    pages = [client.get(url(page, key)).content.decode() for page in ("change", "history")]
    pages.append(client.get(LIST).content.decode())
    assert token.split("_", 2)[2] not in f"{before}{pages}{everything_kept(client)}"


def everything_kept(client: Client) -> str:
    """What the browser and the database hold."""
    sessions = [session.get_decoded() for session in Session.objects.all()]
    return f"{sessions}{[*LogEntry.objects.values()]}{client.cookies.output()}"


def test_loading_the_page_again_shows_the_key_without_its_token() -> None:
    client = staff("add_apikey", "view_apikey")
    client.post(ADD, filled_in())
    key = ApiKey.objects.get()
    assert TOKEN.search(client.get(url("created", key)).content.decode())
    again = client.get(url("created", key))
    assert again.status_code == 200
    assert not TOKEN.search(again.content.decode())
    assert f"gw_{key.prefix}_…" in again.content.decode()
    assert ApiKey.objects.count() == 1


def test_a_token_that_nobody_fetches_within_minutes_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = staff("add_apikey")
    client.post(ADD, filled_in())
    late = time.time() + 5 * 60 + 1
    monkeypatch.setattr("time.time", lambda: late)
    answer = client.get(url("created", ApiKey.objects.get()))
    assert not TOKEN.search(answer.content.decode())


def test_a_token_takes_the_session_and_the_cookie_of_who_made_it() -> None:
    maker, other = staff("add_apikey"), Client()
    other.force_login(User.objects.create_superuser("overseer"))
    maker.post(ADD, filled_in())
    page = url("created", ApiKey.objects.get())
    other.cookies["new_api_key"] = maker.cookies["new_api_key"].value
    assert not TOKEN.search(other.get(page).content.decode())
    del maker.cookies["new_api_key"]
    assert not TOKEN.search(maker.get(page).content.decode())


def test_the_page_of_a_new_key_takes_the_permission() -> None:
    key, _ = keys.issue(make_project(), name="laptop")
    assert staff("view_apikey").get(url("created", key)).status_code == 403


def test_whatever_button_is_pressed_the_token_is_shown(admin_client: Client) -> None:
    for button in ("_save", "_addanother", "_continue", "_popup"):
        answer = admin_client.post(ADD, filled_in(**{button: "1"}), follow=True)
        assert TOKEN.search(answer.content.decode())


def test_the_default_project_is_proposed(admin_client: Client) -> None:
    make_project(name="Another")
    assert re.search(
        r"<option[^>]* selected>Default project<", admin_client.get(ADD).content.decode()
    )


def test_a_key_may_expire(admin_client: Client) -> None:
    expires = filled_in(expires_at_0="2031-02-03", expires_at_1="04:05:06")
    answer = admin_client.post(ADD, expires, follow=True)
    assert "until 2031-02-03 04:05 UTC" in answer.content.decode()


def test_changing_a_key_keeps_its_digest_and_project(admin_client: Client) -> None:
    key, token = keys.issue(make_project(), name="old name")
    answer = admin_client.post(
        url("change", key),
        filled_in(name="new name", digest="0" * 64, prefix="abcabcabcabc", revoked_at="2020-01-01"),
    )
    assert answer.status_code == 302
    changed = ApiKey.objects.get(pk=key.pk)
    assert (changed.name, changed.project) == ("new name", key.project)
    assert keys.authenticate(token) is not None


@pytest.mark.parametrize("lookup", ["digest__startswith", "digest"])
def test_digests_cannot_be_guessed_by_filtering(lookup: str) -> None:
    key, _ = keys.issue(make_project(), name="laptop")
    client = staff("view_apikey")
    assert client.get(LIST, {lookup: key.digest}).status_code == 400


def test_the_revoke_button_asks_and_then_revokes(admin_client: Client) -> None:
    key, token = keys.issue(make_project(), name="laptop")
    assert url("revoke", key) in admin_client.get(url("change", key)).content.decode()
    assert "There is no way back" in admin_client.get(url("revoke", key)).content.decode()
    assert keys.authenticate(token) is not None
    html = admin_client.post(url("revoke", key), follow=True).content.decode()
    assert "is revoked" in html
    assert keys.authenticate(token) is None
    assert LogEntry.objects.get().get_change_message() == "Revoked."


def test_a_revoked_key_has_no_button_and_no_form(admin_client: Client) -> None:
    key, _ = keys.issue(make_project(), name="laptop")
    keys.revoke(key)
    html = admin_client.get(url("change", key)).content.decode()
    assert url("revoke", key) not in html
    assert 'name="_save"' not in html
    assert (
        "was revoked before" in admin_client.post(url("revoke", key), follow=True).content.decode()
    )


def test_selected_keys_are_revoked_and_counted(admin_client: Client) -> None:
    selected = [keys.issue(make_project(), name=name)[0] for name in ("a", "b", "c")]
    keys.revoke(selected[0])
    asked = {"action": "revoke_selected", "_selected_action": [key.pk for key in selected]}
    html = admin_client.post(LIST, asked, follow=True).content.decode()
    assert "2 of 3 selected API keys revoked" in html
    assert not ApiKey.objects.filter(revoked_at=None).exists()


def test_revoking_takes_the_permission() -> None:
    key, token = keys.issue(make_project(), name="laptop")
    client = staff("view_apikey", "add_apikey")
    assert client.post(url("revoke", key)).status_code == 403
    client.post(LIST, {"action": "revoke_selected", "_selected_action": [key.pk]})
    assert keys.authenticate(token) is not None


def test_revoking_takes_a_token_against_forgery() -> None:
    key, token = keys.issue(make_project(), name="laptop")
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("overseer"))
    assert client.post(url("revoke", key)).status_code == 403
    assert keys.authenticate(token) is not None


def test_an_unknown_key_cannot_be_revoked(admin_client: Client) -> None:
    assert admin_client.post(reverse("admin:store_apikey_revoke", args=[99])).status_code == 404


def test_keys_cannot_be_deleted(admin_client: Client) -> None:
    key, _ = keys.issue(make_project(), name="laptop")
    assert admin_client.post(url("delete", key), {"post": "yes"}).status_code == 403
    assert "delete_selected" not in admin_client.get(LIST).content.decode()


@pytest.mark.parametrize("state", ["active", "expired", "revoked"])
def test_keys_are_filtered_by_state(admin_client: Client, state: str) -> None:
    project = make_project()
    past, future = (timezone.now() + timedelta(days=days) for days in (-1, 1))
    keys.issue(project, name="is active")
    keys.issue(project, name="is active for a day", expires_at=future)
    keys.issue(project, name="is expired", expires_at=past)
    for expires_at in (None, past):
        key, _ = keys.issue(project, name="is revoked", expires_at=expires_at)
        keys.revoke(key)
    html = admin_client.get(LIST, {"state": state}).content.decode()
    found = set(re.findall(r">is (active|expired|revoked)", html))
    assert found == {state}
    assert html.count(">is ") == (1 if state == "expired" else 2)


def test_the_list_costs_the_same_for_any_number_of_keys(
    admin_client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(2):
        for _ in range(10):
            keys.issue(make_project(), name="laptop")
        # Session, user, count, count of all, rows, projects.
        with django_assert_num_queries(6):
            admin_client.get(LIST)
