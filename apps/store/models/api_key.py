"""API keys: 256 random bits of which only a digest is kept."""

from __future__ import annotations

from typing import Any

from django.db import models, transaction
from django.utils import timezone

from apps.store.models.configuration import Configuration
from apps.store.models.project import Project


class ApiKey(models.Model):
    """A bearer token of one project: ``gw_<prefix>_<secret>``, shown once."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="api_keys")
    name = models.CharField(max_length=200, help_text="Who or what uses the key.")
    prefix = models.CharField(max_length=16, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False, help_text="SHA-256 of the secret.")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    may_prioritize = models.BooleanField(
        default=False,
        verbose_name="may set priorities",
        help_text="Requests may name a priority, and so be served before those of others.",
    )

    class Meta:
        verbose_name = "API key"
        default_permissions = ("add", "change", "view")  # a key is revoked, never deleted

    def __str__(self) -> str:
        return f"{self.name} (gw_{self.prefix}_…)"

    def save(self, **kwargs: Any) -> None:
        with transaction.atomic():
            super().save(**kwargs)
            Configuration.bump()

    def delete(self, using: Any = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        with transaction.atomic():
            Configuration.bump()
            return super().delete(using=using, keep_parents=keep_parents)

    @property
    def is_active(self) -> bool:
        return self.revoked_at is None and (
            self.expires_at is None or self.expires_at > timezone.now()
        )
