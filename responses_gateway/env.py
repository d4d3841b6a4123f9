"""Reads settings from the environment, secrets also from the file that ``NAME_FILE`` names.

Raises ``ImproperlyConfigured`` with the variable's name when a value does not fit its type.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from apps.conf import Setting

REDIS = re.compile(r"unix://.+|rediss?://([^/?#]*@)?(\[[^]]+]|[^/:?#@]*)(:\d+)?(/\d*)?(\?.*)?")
TRUE, FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}


def text(name: str, default: str = "") -> str:
    """The variable, else the content of the file that ``NAME_FILE`` names, else the default."""
    if (value := os.environ.get(name)) is not None:
        return value
    if path := os.environ.get(f"{name}_FILE"):
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as exc:
            raise ImproperlyConfigured(f"{name}_FILE: cannot read {path!r}: {exc}") from exc
    return default


def boolean(name: str, default: bool = False) -> bool:
    value = text(name, str(default)).strip().lower()
    if value in TRUE:
        return True
    if value in FALSE:
        return False
    raise ImproperlyConfigured(f"{name}: {value!r} is neither true nor false.")


def number(name: str, default: float, kind: type[int] | type[float]) -> float:
    value = text(name, str(default))
    try:
        return kind(value)
    except ValueError as exc:
        raise ImproperlyConfigured(f"{name}: {value!r} is not a number.") from exc


def strings(name: str, default: list[str]) -> list[str]:
    """Comma-separated values; blanks around them are dropped."""
    value = text(name, ",".join(default))
    return [part.strip() for part in value.split(",") if part.strip()]


def check_redis_urls(values: Mapping[str, Any]) -> None:
    """Those of the gateway and of its workers. Raises ImproperlyConfigured."""
    for name in ("REDIS_URL", "GATEWAY_SANDBOX_REDIS_URL"):
        check_redis_url(name, values[name])


def check_redis_url(name: str, url: str) -> None:
    """Raises ImproperlyConfigured. The URL may hold a password, and is not quoted."""
    if url and not REDIS.fullmatch(url):
        raise ImproperlyConfigured(
            f"{name} is not a URL such as redis://:password@127.0.0.1:6379/0; in a "
            "password, %2F stands for /, %3F for ? and %23 for #."
        )


def read(setting: Setting[Any]) -> str | float | bool | list[str]:
    """The value of one declared setting, in its default's type."""
    name, default = setting.name, setting.default
    if isinstance(default, bool):
        return boolean(name, default)
    if isinstance(default, int | float):
        value = number(name, default, type(default))
        if setting.minimum is not None and value < setting.minimum:
            raise ImproperlyConfigured(f"{name}: {value:g} is below {setting.minimum:g}.")
        return value
    if isinstance(default, list):
        return strings(name, default)
    word = text(name, default)
    if setting.choices and word not in setting.choices:
        raise ImproperlyConfigured(f"{name}: {word!r} is not one of {', '.join(setting.choices)}.")
    return word
