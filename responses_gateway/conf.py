"""The settings of the project itself: database, secrets, hosts, logs."""

from apps.conf import Setting, SettingsGroup


class CoreSettings(SettingsGroup):
    """Where data lives and who may reach the admin."""

    DATA_DIR = Setting(
        "", "Folder for the SQLite database, secrets and files; default: var/ in the checkout."
    )
    SECRET_KEY = Setting(
        "",
        "Django's secret key. `serve` writes one to the data folder when none is given; with "
        "PostgreSQL it has to be given.",
        secret=True,
    )
    ENCRYPTION_KEYS = Setting(
        list[str](),
        "Keys for what is encrypted at rest, comma-separated: the first encrypts, all decrypt. "
        "Written by `serve` like the secret key.",
        secret=True,
    )
    DEBUG = Setting(False, "Django's debug mode, for development of the gateway only.")
    ALLOWED_HOSTS = Setting(
        ["*"],
        "Host names under which the gateway answers. Without API keys only this machine may call "
        "anyway.",
    )
    CSRF_TRUSTED_ORIGINS = Setting(
        list[str](), "Origins of the admin behind a TLS proxy, e.g. https://gateway.example.org."
    )
    SECURE_PROXY = Setting(
        False,
        "Set when a TLS proxy in front sets X-Forwarded-Proto: cookies become secure and the "
        "admin knows that it is reached by https.",
    )
    LOG_LEVEL = Setting(
        "INFO", "Least level logged.", choices=("DEBUG", "INFO", "WARNING", "ERROR")
    )
    LOG_FORMAT = Setting("console", "How lines look.", choices=("console", "json"))

    DATABASE_URL = Setting(
        "",
        "postgresql://user:password@host:port/name, or sqlite:///path; default: SQLite in the "
        "data folder.",
        prefix="",
        secret=True,
    )
    REDIS_URL = Setting(
        "",
        "redis://host:port/db: needed by sandbox workers; also a cache for figures of the admin.",
        prefix="",
        secret=True,
    )
    CELERY_BROKER_URL = Setting(
        "",
        "Broker of the Celery workers; default: GATEWAY_SANDBOX_REDIS_URL, else REDIS_URL.",
        prefix="",
        secret=True,
    )


core = CoreSettings()
