"""`manage.py sandbox` installs, extends and inspects."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings


def sandbox(*words: str) -> str:
    out = StringIO()
    call_command("sandbox", *words, stdout=out)
    return out.getvalue()


@pytest.fixture(autouse=True)
def in_folder(settings: Settings, folder: Path) -> None:
    settings.GATEWAY_SANDBOX_DIR = str(folder)


def test_installing_again_changes_nothing() -> None:
    assert "pyodide 314.0.7, python 3.14" in sandbox("install", "--no-packages")


def test_packages_that_cannot_be_fetched_are_said_and_python_is_there(
    settings: Settings, tmp_path: Path
) -> None:
    settings.GATEWAY_SANDBOX_PACKAGES_URL = str(tmp_path)
    out = sandbox("install")
    assert "Without packages: numpy-" in out
    assert "manage.py sandbox packages numpy pandas" in out


def test_status_runs_a_cell() -> None:
    out = sandbox("status")
    assert "Backend   pyodide" in out
    assert "deno permissions" in out
    assert "1 + 1 in" in out


def test_status_without_an_installation_says_what_to_do(settings: Settings, tmp_path: Path) -> None:
    settings.GATEWAY_SANDBOX_DIR = str(tmp_path)
    with pytest.raises(CommandError, match="cannot run code here"):
        sandbox("status")
    with pytest.raises(CommandError, match="sandbox install"):
        sandbox("packages", "numpy")


def test_the_native_sandbox_has_a_status_too(settings: Settings) -> None:
    settings.GATEWAY_SANDBOX = "native"
    settings.GATEWAY_SANDBOX_UNCONFINED = True
    assert "Installed in" in sandbox("install", "--native", "--no-packages")
    out = sandbox("status")
    assert "Backend   native" in out
    assert "1 + 1 in" in out


def test_a_sandbox_that_is_off_is_no_error(settings: Settings) -> None:
    settings.GATEWAY_SANDBOX = "off"
    assert "switched off" in sandbox("status")


def test_unknown_packages_are_named() -> None:
    with pytest.raises(CommandError, match="no package no-such-thing"):
        sandbox("packages", "no_such_thing")
