"""Gateways and sandbox workers find the same broker in the same environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHARED, OWN, OTHER = "redis://redis:6379/0", "redis://redis:6379/1", "amqp://rabbitmq//"
ASK = "from django.conf import settings; print(settings.CELERY_BROKER_URL)"


def broker(module: str, folder: Path, urls: dict[str, str]) -> str:
    bare = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME")}
    own = {
        "DJANGO_SETTINGS_MODULE": f"responses_gateway.{module}",
        "GATEWAY_SECRET_KEY": "of this test",
        "GATEWAY_DATA_DIR": str(folder),
    }
    asked = subprocess.run(
        [sys.executable, "-c", ASK], env=bare | own | urls, check=True, capture_output=True
    )
    return asked.stdout.decode().strip()


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ({"REDIS_URL": SHARED}, SHARED),
        ({"REDIS_URL": SHARED, "GATEWAY_SANDBOX_REDIS_URL": OWN}, OWN),
        ({"GATEWAY_SANDBOX_REDIS_URL": OWN, "CELERY_BROKER_URL": OTHER}, OTHER),
    ],
)
@pytest.mark.parametrize("module", ["settings", "worker_settings"])
def test_calls_go_where_workers_wait_for_them(
    module: str, urls: dict[str, str], expected: str, tmp_path: Path
) -> None:
    assert broker(module, tmp_path, urls) == expected
