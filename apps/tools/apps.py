"""App configuration of the hosted tools."""

from django.apps import AppConfig


class ToolsConfig(AppConfig):
    name = "apps.tools"
    label = "tools"

    def ready(self) -> None:
        from apps.tools import checks  # noqa: F401 - registers the checks
