"""What each model of the upstream can do, as it was found out the last time it was asked."""

from django.db import models


class Capability(models.Model):
    """One answer to one question, such as: does this model call tools. For operators to read;
    requests are never refused because of it, since vLLM may run with other flags by now."""

    model = models.CharField(max_length=512)
    capability = models.CharField(max_length=32)
    works = models.BooleanField(null=True, help_text="Null when it could not be told.")
    detail = models.TextField(blank=True, help_text="Why not, or what to do.")
    upstream_version = models.CharField(max_length=64, blank=True)
    checked_at = models.DateTimeField()

    class Meta:
        verbose_name = "model capability"
        verbose_name_plural = "model capabilities"
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["model", "capability"], name="capability_unique")
        ]

    def __str__(self) -> str:
        return f"{self.model}: {self.capability}"
