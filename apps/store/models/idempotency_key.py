"""Keys under which clients send requests that are not to be carried out twice."""

from __future__ import annotations

from django.db import models

from apps.store.models.project import Project


class IdempotencyKey(models.Model):
    """A request's key, and the response that it was given. No foreign key to that: its row comes
    later than this one, if ever."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    body_sha256 = models.CharField(max_length=64)
    response_id = models.CharField(max_length=64, unique=True)
    owner = models.CharField(max_length=64, help_text="The process that carries the request out.")
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["project", "key"], name="idempotency_key_unique")
        ]

    def __str__(self) -> str:
        return self.key
