"""System checks of the hosted tools' settings."""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004

from apps.tools.code_interpreter.setup import hosts_sandboxes, runs_on_workers, sandbox_redis_url
from apps.tools.conf import conf

E001 = Error(
    "An interpreter's process may take less memory than Python's objects in it.",
    hint="GATEWAY_SANDBOX_RSS_MB has to be more than GATEWAY_SANDBOX_MEMORY_MB; with pyodide by "
    "some 300.",
    id="tools.E001",
)
E002 = Error(
    "Code is to run in sandbox workers, and there is no Redis through which it could be heard of.",
    hint="Set REDIS_URL or GATEWAY_SANDBOX_REDIS_URL beside CELERY_BROKER_URL; or set "
    "GATEWAY_SANDBOX=off.",
    id="tools.E002",
)
W001 = Warning(
    "Native code runs even where nothing confines it.",
    hint="Unless everybody who can send a prompt may do whatever the gateway can, unset "
    "GATEWAY_SANDBOX_UNCONFINED.",
    id="tools.W001",
)


@register()
def check_sandbox(**kwargs: Any) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if conf.SANDBOX_RSS_MB <= conf.SANDBOX_MEMORY_MB:
        found.append(E001)
    if hosts_sandboxes() and runs_on_workers() and not sandbox_redis_url():
        found.append(E002)
    if conf.SANDBOX == "native" and conf.SANDBOX_UNCONFINED:
        found.append(W001)
    return found
