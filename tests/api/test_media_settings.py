"""The system checks of the settings of media."""

from __future__ import annotations

from pytest_django import Settings

from apps.api import checks


def test_one_medium_must_fit_into_all(settings: Settings) -> None:
    assert checks.check_media() == []
    settings.GATEWAY_MEDIA_TOTAL_BYTES = settings.GATEWAY_MEDIA_FILE_BYTES - 1
    assert checks.check_media() == [checks.E005]


def test_urls_that_are_passed_on_are_warned_of(settings: Settings) -> None:
    assert checks.check_media_urls() == []
    settings.GATEWAY_MEDIA_URLS = "pass"
    assert checks.check_media_urls() == [checks.W004]
