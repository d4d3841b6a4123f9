"""The system checks: each finds what it is for, and a sound configuration passes all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, run_checks
from pytest_django import Settings

from apps.api import checks
from apps.store import checks as store_checks


def found(*, deploy: bool = False) -> set[str]:
    """Ids of our own messages."""
    messages = run_checks(include_deployment_checks=deploy)
    ids = {str(message.id) for message in messages}
    return {name for name in ids if name.startswith(("api.", "store."))}


@pytest.fixture(autouse=True)
def sound(settings: Settings) -> Settings:
    settings.GATEWAY_UPSTREAM_URL = "http://127.0.0.1:8000"
    settings.GATEWAY_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    settings.GATEWAY_SECRET_KEY_IS_TEMPORARY = False
    return settings


def test_a_sound_configuration_passes() -> None:
    assert found(deploy=True) == set()


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        ({"GATEWAY_UPSTREAM_URL": "127.0.0.1:8000"}, {"api.E001"}),
        ({"GATEWAY_UPSTREAM_URL": "ftp://host"}, {"api.E001"}),
        ({"GATEWAY_UPSTREAM_URL": "http://"}, {"api.E001"}),
        ({"GATEWAY_UPSTREAM_URL": "http://host:99999"}, {"api.E001"}),
        ({"GATEWAY_UPSTREAM_URL": "https://host/prefix/v1"}, set()),
        ({"GATEWAY_UPSTREAM_URL": ""}, set()),
        ({"GATEWAY_ENCRYPTION_KEYS": ["short"]}, {"api.E002"}),
        ({"GATEWAY_ENCRYPTION_KEYS": ["not base64 é"]}, {"api.E002"}),
        ({"GATEWAY_ENCRYPTION_KEYS": []}, set()),
        ({"GATEWAY_SECRET_KEY_IS_TEMPORARY": True}, {"api.W002"}),
        ({"GATEWAY_IDLE_TIMEOUT": 10.0, "GATEWAY_RUN_TIMEOUT": 5.0}, {"api.E004"}),
        ({"GATEWAY_FIRST_BYTE_TIMEOUT": 2.0}, {"api.W003"}),
        ({"GATEWAY_HISTORY_CACHE": True, "REDIS_URL": ""}, {"store.E003"}),
        ({"GATEWAY_HISTORY_CACHE": True, "REDIS_URL": "redis://host"}, set()),
        ({"GATEWAY_LEASE_SECONDS": 3.0}, {"store.W001"}),
    ],
)
def test_a_mistake_is_found(settings: Settings, values: dict[str, Any], ids: set[str]) -> None:
    for name, value in values.items():
        setattr(settings, name, value)
    if "GATEWAY_RUN_TIMEOUT" in values:
        settings.GATEWAY_FIRST_BYTE_TIMEOUT = 4.0
    assert found() == ids


@pytest.mark.parametrize(
    ("name", "value", "ids"),
    [
        ("CONN_MAX_AGE", 60, {"store.E001"}),
        ("CONN_MAX_AGE", None, {"store.E001"}),
        ("ATOMIC_REQUESTS", True, {"store.E002"}),
        ("OPTIONS", {"pool": {"max_size": 500}}, {"store.W002"}),
        ("OPTIONS", {"pool": {"max_size": 16}}, set()),
    ],
)
def test_a_mistake_in_the_database_settings_is_found(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object, ids: set[str]
) -> None:
    monkeypatch.setitem(django_settings.DATABASES["default"], name, value)
    assert found() == ids


def test_before_deployment_an_upstream_and_with_postgresql_a_key_have_to_be_given(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "connection", SimpleNamespace(vendor="postgresql"))
    settings.GATEWAY_UPSTREAM_URL = ""
    settings.GATEWAY_SECRET_KEY_IS_TEMPORARY = True
    assert found(deploy=True) == {"api.W001", "api.W002", "api.E003"}


def test_every_message_says_what_to_do() -> None:
    constants = [*vars(checks).values(), *vars(store_checks).values()]
    messages = [constant for constant in constants if isinstance(constant, CheckMessage)]
    assert len(messages) > 10
    assert all(message.hint for message in messages)
