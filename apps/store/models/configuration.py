"""The version of everything that operators change in the admin."""

from django.db import models


class Configuration(models.Model):
    """A single row, read in the statement that reads the API key.

    Whatever a process caches of the configuration carries the version under which it was read;
    a change of the version makes it stale in every process at its next request.
    """

    SINGLETON = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=SINGLETON, editable=False)
    version = models.BigIntegerField(default=1)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"version {self.version}"

    @classmethod
    def bump(cls) -> None:
        """Count one change; call it in the transaction that makes the change."""
        cls.objects.filter(pk=cls.SINGLETON).update(version=models.F("version") + 1)
