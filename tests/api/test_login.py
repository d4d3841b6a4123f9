"""The one-time login link."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
import time_machine
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from apps.api.login import link

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return get_user_model().objects.create_superuser("root")


def local() -> Client:
    return Client(headers={"host": "localhost"})


def path(user: User) -> str:
    return link(user, "")


def test_it_logs_in_and_shows_the_admin(user: User) -> None:
    browser = local()
    answer = browser.get(path(user))
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
    assert answer["Referrer-Policy"] == "no-referrer"
    assert "no-store" in answer["Cache-Control"]
    assert browser.get("/admin/").status_code == 200


def test_it_works_once(user: User) -> None:
    address = path(user)
    local().get(address)
    again = local().get(address)
    assert again.status_code == 410
    assert "`manage.py loginlink` prints a new link." in again.text


def test_a_login_elsewhere_or_a_new_password_ends_it(user: User) -> None:
    for change in ({"last_login": timezone.now()}, {"password": "other"}):
        address = path(user)
        get_user_model().objects.filter(pk=user.pk).update(**change)
        user.refresh_from_db()
        assert local().get(address).status_code == 410


def test_it_ends_after_15_minutes(user: User) -> None:
    address = path(user)
    with time_machine.travel(timezone.now() + timedelta(minutes=15, seconds=2)):
        assert local().get(address).status_code == 410


@pytest.mark.parametrize("change", [{"is_superuser": False}, {"is_active": False}])
def test_it_is_for_active_superusers(user: User, change: dict[str, bool]) -> None:
    address = path(user)
    get_user_model().objects.filter(pk=user.pk).update(**change)
    assert local().get(address).status_code == 410


def test_a_forged_link_is_refused(user: User) -> None:
    address = path(user)
    other = get_user_model().objects.create_superuser("other")
    forged = address.replace(f"/{user.pk}.", f"/{other.pk}.")
    assert local().get(forged).status_code == 410
    assert local().get("/admin/login/once/nonsense/").status_code == 410


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("10.0.0.1", {}),
        ("127.0.0.1", {"host": "example.org"}),
        ("127.0.0.1", {"x-forwarded-for": "127.0.0.1"}),
        ("127.0.0.1", {"origin": "https://example.org"}),
    ],
)
def test_from_elsewhere_it_says_what_to_do_and_stays_good(
    user: User, peer: str, headers: dict[str, str]
) -> None:
    address = path(user)
    far = Client(headers={"host": "localhost"} | headers, REMOTE_ADDR=peer)
    answer = far.get(address)
    assert answer.status_code == 403
    assert "manage.py changepassword" in answer.text
    assert local().get(address).status_code == 302


def test_only_get_counts(user: User) -> None:
    address = path(user)
    assert local().head(address).status_code == 405
    assert local().post(address).status_code == 405
    assert local().get(address).status_code == 302


# -- the command -----------------------------------------------------------------------------------


def printed(*arguments: str) -> str:
    out = StringIO()
    call_command("loginlink", *arguments, stdout=out)
    return out.getvalue().strip()


@pytest.fixture
def lasting_key(settings: Settings) -> None:
    settings.GATEWAY_SECRET_KEY_IS_TEMPORARY = False


@pytest.mark.usefixtures("lasting_key")
def test_the_command_prints_a_link_for_the_first_superuser(user: User) -> None:
    get_user_model().objects.create_superuser("second")
    address = printed("--port", "80")
    assert address.startswith("http://127.0.0.1:80/admin/login/once/")
    browser = local()
    browser.get(address.removeprefix("http://127.0.0.1:80"))
    assert browser.session["_auth_user_id"] == str(user.pk)


@pytest.mark.usefixtures("lasting_key")
def test_the_command_takes_a_name(user: User) -> None:
    second = get_user_model().objects.create_superuser("second")
    browser = local()
    browser.get(printed("--user", "second").removeprefix("http://127.0.0.1:5969"))
    assert browser.session["_auth_user_id"] == str(second.pk)


@pytest.mark.usefixtures("lasting_key")
def test_the_command_names_who_is_missing() -> None:
    get_user_model().objects.create_user("clerk")
    with pytest.raises(CommandError, match=r"no active superuser 'clerk'.*createsuperuser"):
        printed("--user", "clerk")
    with pytest.raises(CommandError, match=r"no active superuser: .*createsuperuser"):
        printed()


def test_the_command_needs_a_key_that_lasts(settings: Settings, user: User) -> None:
    settings.GATEWAY_SECRET_KEY_IS_TEMPORARY = True
    with pytest.raises(CommandError, match="GATEWAY_SECRET_KEY"):
        printed()
