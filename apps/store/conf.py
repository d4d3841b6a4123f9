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
    HISTORY_CACHE = Setting(
        False, "Keep the history of recent responses in Redis (needs REDIS_URL)."
    )
    HISTORY_CACHE_SECONDS = Setting(3600, "How long a cached history is kept.", minimum=1)


conf = StoreSettings()
