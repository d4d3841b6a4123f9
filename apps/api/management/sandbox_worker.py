"""How a sandbox worker is started on this machine: which program, with what environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from django.conf import settings

from apps.tools.code_interpreter.setup import hosts_sandboxes, runs_on_workers, sandbox_redis_url

COMMAND = [sys.executable, "-m", "responses_gateway.worker"]
SECRETS = frozenset(
    {
        "DATABASE_URL",
        "GATEWAY_SECRET_KEY",
        "GATEWAY_ENCRYPTION_KEYS",
        "GATEWAY_UPSTREAM_API_KEY",
        "GATEWAY_METRICS_TOKEN",
        "VLLM_API_KEY",
    }
)


def problem() -> str | None:
    """Why no worker can run here, in words for an operator."""
    if not hosts_sandboxes():
        return "The code interpreter is switched off (GATEWAY_SANDBOX=off)."
    if not runs_on_workers():
        return (
            "There is no broker: set REDIS_URL (and CELERY_BROKER_URL where the broker is not "
            "Redis). Without one, `manage.py serve` runs code in its tool host."
        )
    if not sandbox_redis_url():
        return "Set REDIS_URL: outcomes come back through Redis, whatever the broker is."
    return None


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Ours and more, without what a worker is not to know."""
    whole = {**os.environ, "GATEWAY_DATA_DIR": str(settings.DATA_DIR), **more}
    own = {
        name: value for name, value in whole.items() if name.removesuffix("_FILE") not in SECRETS
    }
    return own | {"DJANGO_SETTINGS_MODULE": "responses_gateway.worker_settings"}


def become(*, max_sessions: int | None) -> None:
    """Replace this process by a worker."""
    more = {"GATEWAY_SANDBOX_MAX_SESSIONS": str(max_sessions)} if max_sessions else {}
    os.chdir(settings.BASE_DIR)
    os.execve(COMMAND[0], COMMAND, environment(more))  # noqa: S606 - our own program
