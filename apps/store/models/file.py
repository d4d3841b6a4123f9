"""Files that clients upload. Their bytes are in the file storage, under ``blob``."""

from django.db import models

from apps.store.models.project import Project


class File(models.Model):
    """An uploaded file (``file-...``)."""

    id = models.CharField(max_length=64, primary_key=True)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="files")
    filename = models.CharField(max_length=512)
    purpose = models.CharField(max_length=32)
    size = models.PositiveBigIntegerField(help_text="Bytes.")
    blob = models.CharField(max_length=128, help_text="Its name in the file storage.")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True, db_index=True)

    class Meta:
        default_permissions = ("view", "delete")
        indexes = [models.Index(fields=["project", "created_at"], name="file_by_time")]

    def __str__(self) -> str:
        return self.id
