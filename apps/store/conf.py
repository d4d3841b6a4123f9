"""The store's settings."""

from apps.conf import Setting, SettingsGroup


class StoreSettings(SettingsGroup):
    """How responses are kept."""

    DB_THREADS = Setting(
        8,
        "Threads, and so database connections, per process for the API (PostgreSQL). SQLite "
        "always has one writer and two readers.",
        minimum=1,
    )
    LEASE_SECONDS = Setting(
        30.0,
        "A run whose process has not been heard of for this long is marked failed. Renewed three "
        "times as often.",
        minimum=1,
    )
    FILE_BYTES = Setting(512 * 1024 * 1024, "Largest file that may be uploaded.", minimum=1024)
    FILE_STORAGE = Setting(
        "",
        "Where files are kept: empty for `files/` in the data directory, `file:///FOLDER` for one "
        "that all machines share, `s3://BUCKET/PREFIX` for object storage (needs the extra `s3`; "
        "credentials as AWS's libraries read them).",
    )
    CONTAINER_IDLE_MINUTES = Setting(
        20, "A container that was not used for this long expires.", minimum=1
    )
    RESPONSE_DAYS = Setting(
        0.0,
        "`manage.py purge` erases the content of responses whose chain was not used for so many "
        "days; 0 keeps them for ever.",
        minimum=0,
    )
    MCP_LOG_DAYS = Setting(
        30.0,
        "How many days calls of MCP tools and their approvals stay in the admin's log; 0 keeps "
        "them for ever.",
        minimum=0,
    )


conf = StoreSettings()
