"""Containers of the code interpreter, their files, and what was run in them.

A container is a name with a lifetime; which interpreter holds it at the moment is a matter of the
nodes that run code. Its files are in the file storage, so that they outlive every interpreter.
"""

from django.db import models

from apps.store.models.project import Project


class Container(models.Model):
    """``cntr_...``: expires when it was not used for ``idle_minutes``, and is never revived."""

    id = models.CharField(max_length=64, primary_key=True)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="containers")
    name = models.CharField(max_length=256)
    memory_limit = models.CharField(max_length=8, default="1g")
    idle_minutes = models.PositiveIntegerField(default=20)
    created_at = models.DateTimeField()
    last_active_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    emptied_at = models.DateTimeField(
        null=True, blank=True, help_text="When the files of an expired container were erased."
    )
    node = models.CharField(max_length=64, blank=True, help_text="Where its interpreter was last.")
    epoch = models.PositiveIntegerField(
        default=0, help_text="How often it moved to another interpreter."
    )

    class Meta:
        default_permissions = ("view", "delete")
        indexes = [models.Index(fields=["project", "created_at"], name="container_by_time")]

    def __str__(self) -> str:
        return self.id


class ContainerFile(models.Model):
    """``cfile_...``: one file below ``/mnt/data``."""

    id = models.CharField(max_length=64, primary_key=True)
    container = models.ForeignKey(Container, on_delete=models.CASCADE, related_name="files")
    path = models.CharField(max_length=512, help_text="As code knows it: /mnt/data/...")
    size = models.PositiveBigIntegerField(help_text="Bytes.")
    sha256 = models.CharField(max_length=64, blank=True)
    source = models.CharField(max_length=16, choices=[("user", "user"), ("assistant", "assistant")])
    blob = models.CharField(max_length=128, help_text="Its name in the file storage.")
    created_at = models.DateTimeField()

    class Meta:
        default_permissions = ("view",)
        constraints = [
            models.UniqueConstraint(fields=["container", "path"], name="container_file_path")
        ]

    def __str__(self) -> str:
        return self.id


class CodeCall(models.Model):
    """One piece of code that was run. Without its text when the response was not to be stored."""

    id = models.CharField(max_length=64, primary_key=True, help_text="The item's id.")
    container = models.ForeignKey(Container, on_delete=models.CASCADE, related_name="calls")
    response_id = models.CharField(max_length=64, db_index=True)
    node = models.CharField(max_length=64, blank=True)
    code = models.TextField(blank=True)
    output = models.TextField(blank=True)
    outcome = models.CharField(max_length=16, help_text="ok, error, timeout, oom, crashed, ...")
    duration_ms = models.PositiveIntegerField(null=True)
    created_at = models.DateTimeField()

    class Meta:
        default_permissions = ("view",)
        indexes = [models.Index(fields=["container", "created_at"], name="code_call_by_time")]

    def __str__(self) -> str:
        return self.id
