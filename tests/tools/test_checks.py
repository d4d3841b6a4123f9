"""Settings of the hosted tools that cannot work are found at the start."""

from __future__ import annotations

from pytest_django import Settings

from apps.tools.checks import check_sandbox


def ids() -> set[str | None]:
    return {message.id for message in check_sandbox()}


def test_the_defaults_are_sound() -> None:
    assert ids() == set()


def test_a_process_needs_more_memory_than_what_is_in_it(settings: Settings) -> None:
    settings.GATEWAY_SANDBOX_RSS_MB = settings.GATEWAY_SANDBOX_MEMORY_MB = 512
    assert ids() == {"tools.E001"}


def test_unconfined_code_is_warned_of(settings: Settings) -> None:
    settings.GATEWAY_SANDBOX_UNCONFINED = True
    assert ids() == set()  # pyodide is confined anyway
    settings.GATEWAY_SANDBOX = "native"
    assert ids() == {"tools.W001"}


def test_workers_that_cannot_be_heard_of_are_found(settings: Settings) -> None:
    settings.CELERY_BROKER_URL, settings.REDIS_URL = "amqp://broker", ""
    assert ids() == {"tools.E002"}
    settings.GATEWAY_SANDBOX_REDIS_URL = "redis://redis"
    assert ids() == set()
    settings.GATEWAY_SANDBOX_REDIS_URL = ""
    settings.REDIS_URL = "redis://redis"
    assert ids() == set()
    settings.REDIS_URL, settings.GATEWAY_SANDBOX = "", "off"
    assert ids() == set()
