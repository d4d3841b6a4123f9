"""App configuration of the store."""

from django.apps import AppConfig


class StoreConfig(AppConfig):
    name = "apps.store"
    label = "store"
    verbose_name = "Responses Gateway"

    def ready(self) -> None:
        from apps.store import checks  # noqa: F401 - registers the checks
