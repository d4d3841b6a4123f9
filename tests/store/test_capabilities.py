"""What is remembered of models, and how operators see it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from apps.store.capabilities import remember
from apps.store.models import Capability

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
LIST = reverse("admin:store_capability_changelist")


def known() -> set[tuple[str, str, bool | None]]:
    return set(Capability.objects.values_list("model", "capability", "works"))


def test_what_is_found_takes_the_place_of_what_was_known() -> None:
    with time_machine.travel(NOON, tick=False):
        remember(
            {"a": [("tools", False, "No."), ("schema", None, "?")], "b": [("tools", True, "")]},
            upstream_version="0.31.0",
        )
    with time_machine.travel(NOON + timedelta(hours=1), tick=False):
        remember({"a": [("tools", True, "")]}, upstream_version="0.32.0")
    assert known() == {("a", "tools", True), ("a", "schema", None), ("b", "tools", True)}
    changed = Capability.objects.get(model="a", capability="tools")
    assert (changed.detail, changed.upstream_version) == ("", "0.32.0")
    assert changed.checked_at == NOON + timedelta(hours=1)


def test_all_of_it_is_one_statement(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        remember(
            {str(number): [("tools", True, ""), ("schema", True, "")] for number in range(20)},
            upstream_version="0.32.0",
        )


def test_a_server_without_models_changes_nothing() -> None:
    remember({}, upstream_version="")
    assert known() == set()


# --- The list -------------------------------------------------------------------------------------


def reader(*permissions: str) -> Client:
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def test_operators_see_what_each_model_can_do() -> None:
    remember(
        {"<b>tiny": [("tools", False, "Start vLLM with <flags>."), ("schema", True, "")]},
        upstream_version="0.32.0",
    )
    html = reader("view_capability").get(LIST).content.decode()
    assert "&lt;b&gt;tiny" in html
    assert "Start vLLM with &lt;flags&gt;." in html
    assert "<b>tiny" not in html
    states = re.findall(r'<span class="gw-badge gw-\w+">([^<]+)</span>', html)
    assert sorted(states) == ["does not work", "works"]


def test_an_empty_list_says_how_it_fills() -> None:
    client = reader("view_capability")
    assert "<code>manage.py doctor</code> asks each" in client.get(LIST).content.decode()
    searched = client.get(LIST, {"q": "nothing"}).content.decode()
    remember({"tiny": [("tools", True, "")]}, upstream_version="0.32.0")
    filled = client.get(LIST).content.decode()
    assert "manage.py doctor" not in searched + filled


def test_the_list_is_only_read() -> None:
    remember({"tiny": [("tools", True, "")]}, upstream_version="0.32.0")
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    assert client.get(LIST).status_code == 200
    row = Capability.objects.get()
    assert client.get(reverse("admin:store_capability_add")).status_code == 403
    for page in ("change", "delete"):
        url = reverse(f"admin:store_capability_{page}", args=[row.pk])
        assert client.post(url, {"model": "other"}).status_code == 403
    assert known() == {("tiny", "tools", True)}


def test_only_those_who_may_view_it_see_it() -> None:
    assert reader("view_lease").get(LIST).status_code == 403
