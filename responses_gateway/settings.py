"""The one settings file. Every value comes from the environment through ``env.py``.

What each ``GATEWAY_*`` setting means is said where it is declared: ``conf.py`` here and in the
apps. ``docs/reference/settings.md`` is generated from those declarations.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import django_stubs_ext
from django.core.management.utils import get_random_secret_key

django_stubs_ext.monkeypatch()  # makes admin.ModelAdmin[Model] legal at run time

from apps.api.conf import ApiSettings  # noqa: E402
from apps.store.conf import StoreSettings  # noqa: E402
from apps.tools.conf import ToolsSettings  # noqa: E402
from responses_gateway import databases, env, file_storage, logs  # noqa: E402
from responses_gateway.conf import CoreSettings  # noqa: E402

BASE_DIR = Path(__file__).resolve().parent.parent

# --- The gateway's own settings -------------------------------------------------------------------

SETTINGS_GROUPS = [CoreSettings, ApiSettings, ToolsSettings, StoreSettings]
_values: dict[str, Any] = {
    s.name: env.read(s) for group in SETTINGS_GROUPS for s in group.declared()
}
DATA_DIR = Path(_values["GATEWAY_DATA_DIR"] or BASE_DIR / "var")
_values["GATEWAY_DATA_DIR"] = DATA_DIR
globals().update(_values)


def _from_data_dir(name: str) -> str:
    """A secret that `serve` wrote at its first start, or an empty string."""
    path = DATA_DIR / "secrets" / name
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


# --- Core -----------------------------------------------------------------------------------------

# Without a key, sessions end with the process; a system check says so.
SECRET_KEY = _values["GATEWAY_SECRET_KEY"] or _from_data_dir("secret_key")
GATEWAY_SECRET_KEY_IS_TEMPORARY = not SECRET_KEY
SECRET_KEY = SECRET_KEY or get_random_secret_key()
if not _values["GATEWAY_ENCRYPTION_KEYS"] and (_key := _from_data_dir("encryption_key")):
    GATEWAY_ENCRYPTION_KEYS = [_key]

DEBUG = _values["GATEWAY_DEBUG"]
ALLOWED_HOSTS = _values["GATEWAY_ALLOWED_HOSTS"]
ROOT_URLCONF = "responses_gateway.urls"
ASGI_APPLICATION = "responses_gateway.asgi.application"
APPEND_SLASH = False  # a redirected POST loses its body
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
DATA_UPLOAD_MAX_NUMBER_FIELDS = 20_000  # the page of an MCP server has four for each tool
DATA_UPLOAD_MAX_MEMORY_SIZE = _values["GATEWAY_MAX_BODY_BYTES"]

# --- Database and Redis ---------------------------------------------------------------------------

DATABASES: dict[str, Any] = {
    "default": databases.from_url(
        _values["DATABASE_URL"] or f"sqlite:///{DATA_DIR / 'gateway.sqlite3'}",
        threads=_values["GATEWAY_DB_THREADS"],
    )
}
REDIS_URL: str = _values["REDIS_URL"]
env.check_redis_urls(_values)
# For what may be some seconds old; what is asked for in each request is not faster from there.
CACHES: dict[str, Any] = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "gateway",
        "OPTIONS": {
            "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
            "IGNORE_EXCEPTIONS": True,  # a cache that is away is a miss
            "SOCKET_CONNECT_TIMEOUT": 0.5,
            "SOCKET_TIMEOUT": 0.5,
        },
    }
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
}

# --- Files ----------------------------------------------------------------------------------------

STORAGES: dict[str, Any] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    "files": file_storage.from_url(_values["GATEWAY_FILE_STORAGE"], folder=DATA_DIR / "files"),
}

# --- Apps and middleware --------------------------------------------------------------------------

INSTALLED_APPS = [
    "daphne",  # first: its runserver speaks ASGI
    "apps.api",
    "apps.tools",
    "apps.store",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "ninja",  # the assets of the API docs, so that nothing remote is loaded
]
# Only the admin and its static files pass here; /v1 goes through apps.api.handler, without any.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
SERVESTATIC_USE_FINDERS = True  # the admin's files are served from the packages: no collectstatic
SERVESTATIC_AUTOREFRESH = False

# --- Security of the admin ------------------------------------------------------------------------

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]
CSRF_TRUSTED_ORIGINS = _values["GATEWAY_CSRF_TRUSTED_ORIGINS"]
SESSION_COOKIE_HTTPONLY = True
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
if _values["GATEWAY_SECURE_PROXY"]:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
# HSTS and the redirect to https are for the proxy that ends TLS: it knows what else it serves.
SILENCED_SYSTEM_CHECKS = ["security.W004", "security.W008"]

# --- Celery ---------------------------------------------------------------------------------------

# As in worker_settings.py: a call has to go where a worker waits for it.
CELERY_BROKER_URL = (
    _values["CELERY_BROKER_URL"] or _values["GATEWAY_SANDBOX_REDIS_URL"] or REDIS_URL
)
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True

# --- Logs -----------------------------------------------------------------------------------------

LOGGING = logs.configuration(
    level=_values["GATEWAY_LOG_LEVEL"], json=_values["GATEWAY_LOG_FORMAT"] == "json"
)
