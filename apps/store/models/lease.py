"""Which processes are alive, on the database's clock."""

from django.db import models


class Lease(models.Model):
    """One row per running process. A run whose owner has no valid lease is dead."""

    owner = models.CharField(max_length=64, primary_key=True)
    host = models.CharField(max_length=200)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = "process"
        verbose_name_plural = "processes"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.owner} on {self.host}"
