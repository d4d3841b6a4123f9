"""What is printed when the gateway is ready."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user_model

from apps.api.management.announcement import announcement, curl, is_loopback, local_url
from apps.store import keys
from apps.store.models import Project


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("localhost", "http://localhost:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("10.0.0.5", "http://10.0.0.5:80"),
    ],
)
def test_the_local_address_is_one_that_works_on_this_machine(host: str, url: str) -> None:
    assert local_url(host, 80) == url


@pytest.mark.parametrize(
    ("host", "answer"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("x", False)],
)
def test_it_knows_addresses_that_only_this_machine_reaches(host: str, answer: bool) -> None:
    assert is_loopback(host) is answer


def test_the_command_names_a_model_if_there_is_one() -> None:
    assert '{"model": "a/b", "input": "Say hello."}' in curl("http://h", ["a/b"], with_key=False)
    assert '{"input": "Say hello."}' in curl("http://h", [], with_key=False)


@pytest.mark.django_db
def test_with_keys_in_the_database_the_command_sends_one() -> None:
    project = Project.objects.get(slug=Project.DEFAULT_SLUG)
    keys.issue(project, name="test")
    text = announcement("127.0.0.1", 80, ["m"], demo=False)
    assert '-H "Authorization: Bearer $GATEWAY_API_KEY"' in text
    assert "manage.py createapikey" not in announcement("0.0.0.0", 80, ["m"], demo=False)


@pytest.mark.django_db
def test_where_a_login_link_cannot_work_a_password_is_recommended() -> None:
    get_user_model().objects.create_superuser("root")
    text = announcement("10.0.0.5", 80, ["m"], demo=False)
    assert "/admin/login/once/" not in text
    assert "manage.py changepassword root" in text


@pytest.mark.django_db
def test_without_a_superuser_it_says_how_to_make_one() -> None:
    assert "manage.py createsuperuser" in announcement("127.0.0.1", 80, ["m"], demo=False)
