"""API keys: what opens the door, what does not, and what it costs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from apps.store import keys
from apps.store.keys import Principal
from apps.store.models import ApiKey, Configuration
from tests.store.factories import make_project

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def used_just_now(key: ApiKey) -> None:
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=timezone.now())


def version() -> int:
    return Configuration.objects.get().version


def test_a_token_identifies_its_project_and_key() -> None:
    project = make_project()
    key, token = keys.issue(project, name="nightly")
    assert keys.authenticate(token) == Principal(project.pk, key.pk, version(), use_is_due=True)


def test_authentication_costs_one_statement(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    key, token = keys.issue(make_project(), name="nightly")
    used_just_now(key)
    with django_assert_num_queries(1):
        assert keys.authenticate(token) is not None


def test_only_a_digest_of_the_secret_is_stored() -> None:
    key, token = keys.issue(make_project(), name="nightly")
    secret = token.split("_", 2)[2]
    row = ApiKey.objects.filter(pk=key.pk).values().get()
    assert secret not in repr(row)
    assert token.startswith(f"gw_{key.prefix}_")


def spoiled(token: str) -> dict[str, str]:
    return {
        "another secret": token[:-1] + ("A" if token[-1] != "A" else "B"),
        "cut": token[:-1],
        "longer": token + "A",
        "line end": token + "\n",
        "capitals": token.upper(),
        "unknown prefix": "gw_" + "a" * 12 + token[15:],
        "another maker": token.replace("gw_", "sk_", 1),
        "control characters": token.replace("_", "\x00"),
        "not ASCII": "ключ",
        "empty": "",
    }


@pytest.mark.parametrize("how", spoiled("gw_"))
def test_anything_but_the_very_token_is_refused(how: str) -> None:
    _, token = keys.issue(make_project(), name="nightly")
    assert keys.authenticate(spoiled(token)[how]) is None


def test_a_malformed_token_never_reaches_the_database(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    with django_assert_num_queries(0):
        assert keys.authenticate("sk-anything") is None


def test_a_key_expires_at_its_hour() -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        _, token = keys.issue(make_project(), name="brief", expires_at=NOON + timedelta(hours=1))
        clock.shift(3599)
        assert keys.authenticate(token) is not None
        clock.shift(1)
        assert keys.authenticate(token) is None


def test_a_revoked_key_is_refused() -> None:
    key, token = keys.issue(make_project(), name="nightly")
    assert keys.revoke(key) is True
    assert keys.authenticate(token) is None


def test_revoking_twice_keeps_the_first_time() -> None:
    key, _ = keys.issue(make_project(), name="nightly")
    keys.revoke(key)
    first = key.revoked_at
    assert keys.revoke(key) is False
    key.refresh_from_db()
    assert key.revoked_at == first


def test_issuing_and_revoking_count_as_changes_of_the_configuration() -> None:
    before = version()
    key, _ = keys.issue(make_project(), name="nightly")
    keys.revoke(key)
    assert version() == before + 2


def test_the_last_use_is_noted_at_most_once_a_minute() -> None:
    key, token = keys.issue(make_project(), name="nightly")
    with time_machine.travel(NOON, tick=False) as clock:
        assert use_is_due(token)
        keys.note_use(key.pk)
        clock.shift(59)
        assert not use_is_due(token)
        keys.note_use(key.pk)
        key.refresh_from_db()
        assert key.last_used_at == NOON
        clock.shift(1)
        assert use_is_due(token)
        keys.note_use(key.pk)
        key.refresh_from_db()
        assert key.last_used_at == NOON + timedelta(minutes=1)


def use_is_due(token: str) -> bool:
    principal = keys.authenticate(token)
    assert principal is not None
    return principal.use_is_due


def test_noting_the_use_changes_no_configuration() -> None:
    key, _ = keys.issue(make_project(), name="nightly")
    before = version()
    keys.note_use(key.pk)
    assert version() == before
