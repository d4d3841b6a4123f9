"""The settings of a sandbox worker: what running code needs, and none of the gateway's secrets.

No database, no secret key, no encryption keys, no apps. Declared where all settings are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import django_stubs_ext

django_stubs_ext.monkeypatch()

from apps.tools.conf import ToolsSettings  # noqa: E402
from responses_gateway import env, logs  # noqa: E402
from responses_gateway.conf import CoreSettings  # noqa: E402

BASE_DIR = Path(__file__).resolve().parent.parent
CORE = {"GATEWAY_DATA_DIR", "GATEWAY_LOG_LEVEL", "GATEWAY_LOG_FORMAT", "REDIS_URL"} | {
    "CELERY_BROKER_URL"
}
SETTINGS_GROUPS = [ToolsSettings]
_values: dict[str, Any] = {
    setting.name: env.read(setting)
    for setting in (*CoreSettings.declared(), *ToolsSettings.declared())
    if setting.name in CORE or setting in ToolsSettings.declared()
}
DATA_DIR = Path(_values["GATEWAY_DATA_DIR"] or BASE_DIR / "var")
_values["GATEWAY_DATA_DIR"] = DATA_DIR
globals().update(_values)

SECRET_KEY = ""
USE_TZ = True
env.check_redis_urls(_values)
REDIS_URL: str = _values["GATEWAY_SANDBOX_REDIS_URL"] or _values["REDIS_URL"]

CELERY_BROKER_URL = _values["CELERY_BROKER_URL"] or REDIS_URL
CELERY_IMPORTS = ["apps.tools.tasks"]
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = False
CELERY_TASK_REJECT_ON_WORKER_LOST = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_REDIRECT_STDOUTS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # for ever: whoever started it wants a worker

LOGGING = logs.configuration(
    level=_values["GATEWAY_LOG_LEVEL"], json=_values["GATEWAY_LOG_FORMAT"] == "json"
)
