"""The admin's first page and the list of processes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Permission, User
from django.core.cache import cache, caches
from django.db import OperationalError
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from apps.store import leases
from apps.store.admin.overview import figures
from apps.store.models import Lease, McpHealth
from apps.store.models.mcp_server import OPEN
from apps.store.templatetags import gateway_admin
from tests.store.factories import make_mcp_server, make_response

pytestmark = pytest.mark.django_db

INDEX = reverse("admin:index")
NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def numbers(client: Client) -> dict[str, int]:
    html = client.get(INDEX).content.decode()
    found = re.findall(r"<strong>(\d+)</strong> ([^<]+)</a>", html)
    return {label: int(number) for number, label in found}


def test_the_first_page_counts_what_goes_on() -> None:
    with time_machine.travel(NOON, tick=False):
        make_response(status="in_progress")
        make_response(status="queued")
        make_response(status="failed", created_at=NOON - timedelta(minutes=59))
        make_response(status="failed", created_at=NOON - timedelta(minutes=61))
        make_response(created_at=NOON - timedelta(hours=13))
        superuser = User.objects.create_superuser("overseer")
        found = {figure.label: figure.number for figure in figures(superuser)}
    assert found == {
        "in progress": 2,
        "failed, last hour": 1,
        "responses today": 4,
        "processes alive": 0,
    }


def test_figures_are_shared_for_some_seconds_where_there_is_a_cache(
    redis_url: str, settings: Settings, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    settings.CACHES = {
        "default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_url}
    }
    cache.delete("overview")
    superuser = User.objects.create_superuser("overseer")
    make_response(status="queued")
    counted = [figure.number for figure in figures(superuser)]
    make_response(status="queued")
    with django_assert_num_queries(2):  # of processes and MCP servers
        assert [figure.number for figure in figures(superuser)] == counted
    cache.delete("overview")
    assert figures(superuser)[0].number == 2
    caches.close_all()


def test_each_figure_leads_to_the_list_behind_it(admin_client: Client) -> None:
    running = make_response(status="in_progress")
    failed = make_response(status="failed")
    html = admin_client.get(INDEX).content.decode()
    links = [link.replace("&amp;", "&") for link in re.findall(r'<a href="([^"]+)"><strong>', html)]
    pages = [admin_client.get(link).content.decode() for link in links]
    assert [running.id in page for page in pages] == [True, False, True, False]
    assert [failed.id in page for page in pages] == [False, True, True, False]


def test_processes_that_are_gone_do_not_count(admin_client: Client) -> None:
    leases.acquire()
    Lease.objects.create(owner="old", host="here", expires_at=timezone.now() - timedelta(minutes=1))
    assert numbers(admin_client)["processes alive"] == 1


def test_mcp_servers_that_fail_are_told_of(admin_client: Client) -> None:
    past, now = NOON - timedelta(hours=1), NOON
    health: dict[str, dict[str, Any]] = {
        "works again": {"last_error_at": past, "last_success_at": now},
        "never worked": {"last_error_at": now},
        "failed last": {"last_error_at": now, "last_success_at": past},
        "away": {"last_error_at": past, "last_success_at": now, "breaker": OPEN},
        "switched off": {"last_error_at": now},
    }
    for label, fields in health.items():
        server = make_mcp_server(label, enabled=label != "switched off")
        McpHealth.objects.create(server=server, **fields)
    make_mcp_server("never asked")
    assert numbers(admin_client)["MCP servers failing"] == 3
    McpHealth.objects.all().delete()
    assert "MCP servers failing" not in numbers(admin_client)


def test_the_first_page_costs_five_small_statements(
    admin_client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(8):  # besides session, user and recent actions
        admin_client.get(INDEX)


def test_users_see_the_figures_of_what_they_may_see() -> None:
    user = User.objects.create_user("reader", is_staff=True)
    client = Client()
    client.force_login(user)
    assert numbers(client) == {}
    user.user_permissions.set(Permission.objects.filter(codename="view_lease"))
    assert set(numbers(client)) == {"processes alive"}


def test_the_processes_are_listed_with_their_runs(
    admin_client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    owner = leases.acquire()
    make_response(status="in_progress", owner=owner)
    make_response(status="in_progress", owner=owner)
    make_response(owner=owner)
    Lease.objects.create(owner="old", host="here", expires_at=timezone.now() - timedelta(minutes=1))
    with django_assert_num_queries(4):
        html = admin_client.get(reverse("admin:store_lease_changelist")).content.decode()
    assert re.findall(r'field-runs">(\d+)<', html) == ["2", "0"]
    assert re.findall(r">(alive|gone)<", html) == ["alive", "gone"]


def test_processes_are_only_looked_at(admin_client: Client) -> None:
    owner = leases.acquire()
    for name in ("change", "delete"):
        url = reverse(f"admin:store_lease_{name}", args=[owner])
        assert admin_client.post(url, {"post": "yes", "host": "x"}).status_code == 403
    assert admin_client.get(reverse("admin:store_lease_add")).status_code == 403


def test_the_site_bears_the_products_name() -> None:
    html = Client().get(reverse("admin:login")).content.decode()
    assert "Responses Gateway" in html
    assert "Django administration" not in html


@pytest.mark.parametrize("page", ["/admin/", "/v1/docs"])
def test_pages_name_their_icon(page: str, admin_client: Client) -> None:
    named = '<link rel="icon" type="image/svg+xml" href="/static/store/icon.svg">'
    assert admin_client.get(page, follow=True).content.decode().count(named) == 1


def test_browsers_that_guess_find_the_icon() -> None:
    answer = Client().get("/favicon.ico", follow=True)
    assert (answer.status_code, answer["Content-Type"]) == (200, "image/svg+xml")


def test_an_error_says_where_its_reason_is(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(user: object) -> None:
        raise OperationalError

    monkeypatch.setattr(gateway_admin, "figures", away)
    admin_client.raise_request_exception = False
    answer = admin_client.get(INDEX)
    assert answer.status_code == 500
    assert "manage.py doctor" in answer.content.decode()
