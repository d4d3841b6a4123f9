"""System checks of the API and of the project: what would go wrong later, said at the start."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004
from django.db import connection

from apps.api import tracing
from apps.api.conf import conf

E001 = Error(
    "GATEWAY_UPSTREAM_URL is not the URL of a server.",
    hint="It looks like http://127.0.0.1:8000, with or without /v1 at its end.",
    id="api.E001",
)
E002 = Error(
    "GATEWAY_ENCRYPTION_KEYS holds something that is not a Fernet key.",
    hint="A key is 32 bytes in URL-safe base64. `python -c 'from cryptography.fernet import "
    "Fernet; print(Fernet.generate_key().decode())'` makes one. Several are comma-separated.",
    id="api.E002",
)
E003 = Error(
    "No secret key is set: with PostgreSQL, every process makes up its own.",
    hint="Set GATEWAY_SECRET_KEY or GATEWAY_SECRET_KEY_FILE, alike for all processes.",
    id="api.E003",
)
E004 = Error(
    "A part of a response may take longer than the whole.",
    hint="GATEWAY_RUN_TIMEOUT has to be at least as long as GATEWAY_FIRST_BYTE_TIMEOUT and "
    "GATEWAY_IDLE_TIMEOUT.",
    id="api.E004",
)
E005 = Error(
    "One image or file may be larger than all media of a request.",
    hint="GATEWAY_MEDIA_TOTAL_BYTES has to be at least as much as GATEWAY_MEDIA_IMAGE_BYTES and "
    "GATEWAY_MEDIA_FILE_BYTES.",
    id="api.E005",
)
E006 = Error(
    "OTEL_EXPORTER_OTLP_ENDPOINT is not the URL of a server.",
    hint="It looks like http://collector.example.org:4318.",
    id="api.E006",
)
E007 = Error(
    "OTEL_EXPORTER_OTLP_ENDPOINT is set, and the packages for it are missing.",
    hint="Install them with `uv sync --extra otel`.",
    id="api.E007",
)
W001 = Warning(
    "No upstream is configured.",
    hint="Set GATEWAY_UPSTREAM_URL, or name one to `manage.py serve`.",
    id="api.W001",
)
W002 = Warning(
    "No secret key is set: sessions in the admin end with the process.",
    hint="`manage.py serve` writes one at its first start; else set GATEWAY_SECRET_KEY.",
    id="api.W002",
)
W003 = Warning(
    "The wait for the upstream's status is longer than the time in which it has to answer.",
    hint="GATEWAY_STATUS_WINDOW should be shorter than GATEWAY_FIRST_BYTE_TIMEOUT.",
    id="api.W003",
)
W004 = Warning(
    "The model server fetches whatever image URL a client names, from inside the network.",
    hint="Unless nothing else can be reached from there, set GATEWAY_MEDIA_URLS=fetch.",
    id="api.W004",
)


W005 = Warning(
    "One client may take all places of a process.",
    hint="GATEWAY_MAX_STREAMS_PER_KEY should be less than GATEWAY_MAX_STREAMS.",
    id="api.W005",
)


@register()
def check_upstream(**kwargs: Any) -> list[CheckMessage]:
    return [E001] if conf.UPSTREAM_URL and not is_server_url(conf.UPSTREAM_URL) else []


@register(deploy=True)  # else every command would say it to those who name one to `serve`
def check_upstream_is_given(**kwargs: Any) -> list[CheckMessage]:
    return [] if conf.UPSTREAM_URL else [W001]


@register()
def check_keys(**kwargs: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = [W002] if settings.GATEWAY_SECRET_KEY_IS_TEMPORARY else []
    return found if all(map(_is_fernet_key, settings.GATEWAY_ENCRYPTION_KEYS)) else [*found, E002]


@register(deploy=True)
def check_keys_are_shared(**kwargs: Any) -> list[CheckMessage]:
    alone = connection.vendor == "sqlite" or not settings.GATEWAY_SECRET_KEY_IS_TEMPORARY
    return [] if alone else [E003]


@register()
def check_timeouts(**kwargs: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if max(conf.FIRST_BYTE_TIMEOUT, conf.IDLE_TIMEOUT) > conf.RUN_TIMEOUT:
        found.append(E004)
    if conf.STATUS_WINDOW >= conf.FIRST_BYTE_TIMEOUT:
        found.append(W003)
    return found


@register(deploy=True)
def check_shares(**kwargs: Any) -> list[CheckMessage]:
    share, places = conf.MAX_STREAMS_PER_KEY, conf.MAX_STREAMS
    return [W005] if places > 0 and not 0 < share < places else []


@register()
def check_media(**kwargs: Any) -> list[CheckMessage]:
    largest = max(conf.MEDIA_IMAGE_BYTES, conf.MEDIA_FILE_BYTES)
    return [E005] if largest > conf.MEDIA_TOTAL_BYTES else []


@register()
def check_tracing(**kwargs: Any) -> list[CheckMessage]:
    if not (url := conf.OTEL_EXPORTER_OTLP_ENDPOINT):
        return []
    if not is_server_url(url):
        return [E006]
    return [] if tracing.is_installed() else [E007]


@register(deploy=True)
def check_media_urls(**kwargs: Any) -> list[CheckMessage]:
    return [W004] if conf.MEDIA_URLS == "pass" else []


def is_server_url(url: str) -> bool:
    """Whether this is http or https with a host, and a port that can be one."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_fernet_key(key: str) -> bool:
    try:
        Fernet(key)
    except ValueError:
        return False
    return True
