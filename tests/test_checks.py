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
from apps.store.models import Lease
from tests.store.factories import make_lease

pytestmark = pytest.mark.django_db  # before a deployment, one check asks who is at work


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
        ({"GATEWAY_LEASE_SECONDS": 3.0}, {"store.W001"}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, {"api.E006"}),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, set()),
    ],
)
def test_a_mistake_is_found(settings: Settings, values: dict[str, Any], ids: set[str]) -> None:
    for name, value in values.items():
        setattr(settings, name, value)
    if "GATEWAY_RUN_TIMEOUT" in values:
        settings.GATEWAY_FIRST_BYTE_TIMEOUT = 4.0
    assert found() == ids


def test_tracing_without_its_packages_is_found(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.OTEL_EXPORTER_OTLP_ENDPOINT = "http://collector:4318"
    monkeypatch.setattr("apps.api.tracing.find_spec", lambda name: None)
    assert found() == {"api.E007"}


@pytest.mark.parametrize(
    ("places", "share", "ids"),
    [(10, 5, set()), (10, 10, {"api.W005"}), (10, 0, {"api.W005"}), (0, 0, set()), (0, 9, set())],
)
def test_a_share_that_is_all_is_found_on_a_server(
    settings: Settings, places: int, share: int, ids: set[str]
) -> None:
    settings.GATEWAY_MAX_STREAMS, settings.GATEWAY_MAX_STREAMS_PER_KEY = places, share
    assert found(deploy=True) == ids


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


def test_machines_that_do_not_share_files_are_found_on_a_server(settings: Settings) -> None:
    make_lease("one")
    Lease.objects.update(host="another")
    make_lease("two")
    assert found(deploy=True) == {"store.E004"}
    settings.GATEWAY_FILE_STORAGE = "file:///shared"
    assert found(deploy=True) == set()


def test_a_machine_that_is_gone_does_not_count(settings: Settings) -> None:
    make_lease("one", seconds=-1)
    Lease.objects.update(host="another")
    make_lease("two")
    assert found(deploy=True) == set()
