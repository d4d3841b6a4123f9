"""Secrets and the first superuser."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from pytest_django import Settings

from apps.api.management import first_start
from apps.api.management.first_start import (
    FirstStartError,
    ensure_secrets,
    ensure_superuser,
)


@pytest.fixture
def nothing_given(settings: Settings, tmp_path: Path) -> Settings:
    settings.DATA_DIR = tmp_path / "data"
    settings.GATEWAY_SECRET_KEY_IS_TEMPORARY = True
    settings.GATEWAY_ENCRYPTION_KEYS = []
    return settings


def test_secrets_are_written_and_used(nothing_given: Settings) -> None:
    lines: list[str] = []
    ensure_secrets(lines.append)
    folder = nothing_given.DATA_DIR / "secrets"
    assert (folder / "secret_key").read_text().strip() == nothing_given.SECRET_KEY
    assert [
        (folder / "encryption_key").read_text().strip()
    ] == nothing_given.GATEWAY_ENCRYPTION_KEYS
    assert len(lines) == 2
    ensure_secrets(lines.append)
    assert len(lines) == 2


def test_a_secret_that_another_process_wrote_meanwhile_is_kept(
    nothing_given: Settings,
) -> None:
    path = nothing_given.DATA_DIR / "secrets" / "secret_key"
    path.parent.mkdir(parents=True)
    path.write_text("first\n")
    ensure_secrets(lambda line: None)
    assert nothing_given.SECRET_KEY == "first"


def test_secrets_that_are_given_are_not_written(settings: Settings, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "data"
    settings.GATEWAY_SECRET_KEY_IS_TEMPORARY = False
    settings.GATEWAY_ENCRYPTION_KEYS = ["given"]
    ensure_secrets(lambda line: None)
    assert not list(tmp_path.rglob("*_key"))


def test_with_postgresql_secrets_have_to_be_given(
    nothing_given: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_start, "connection", SimpleNamespace(vendor="postgresql"))
    with pytest.raises(FirstStartError, match=r"GATEWAY_SECRET_KEY .*GATEWAY_ENCRYPTION_KEYS"):
        ensure_secrets(lambda line: None)


@pytest.mark.django_db
def test_the_first_superuser_has_no_password() -> None:
    lines: list[str] = []
    ensure_superuser(lines.append)
    ensure_superuser(lines.append)
    user = get_user_model().objects.get()
    assert user.username == "admin"
    assert user.is_superuser
    assert not user.has_usable_password()
    assert lines == ["Admin: superuser 'admin' created, without a password."]


@pytest.mark.django_db
def test_somebody_called_admin_is_not_made_superuser() -> None:
    get_user_model().objects.create_user("admin")
    ensure_superuser(lambda line: None)
    assert not get_user_model().objects.get().is_superuser
