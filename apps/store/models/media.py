"""Images and files of the input, once per project, whichever responses they were given to."""

from django.db import models

from apps.store.models.project import Project
from apps.store.models.response import Response


class Media(models.Model):
    """Bytes under their hash. Items hold the hash; nobody changes a row."""

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="media")
    sha256 = models.CharField(max_length=64)
    media_type = models.CharField(max_length=100)
    size = models.PositiveIntegerField(help_text="Bytes.")
    data = models.BinaryField()
    text = models.TextField(
        blank=True, help_text="What the model was told of a file whose bytes are no text."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "media"
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["project", "sha256"], name="media_once_per_project")
        ]

    def __str__(self) -> str:
        return self.sha256


class MediaUse(models.Model):
    """A response whose own items refer to media. Without any use, media are erased."""

    response = models.ForeignKey(Response, on_delete=models.CASCADE, related_name="media_uses")
    # Not collected on deletion: who deletes media has looked for uses before.
    media = models.ForeignKey(Media, on_delete=models.DO_NOTHING, related_name="uses")

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(fields=["response", "media"], name="media_use_unique")
        ]

    def __str__(self) -> str:
        return f"{self.media_id} in {self.response_id}"
