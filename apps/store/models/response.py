"""Responses as they are kept: what everybody may count, and apart from it what was said."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from apps.store.models.api_key import ApiKey
from apps.store.models.project import Project

STATUSES = ("queued", "in_progress", "completed", "incomplete", "failed", "cancelled")
RUNNING = ("queued", "in_progress")


class Response(models.Model):
    """One run, without a word of its content: ids, state, counts and times.

    A row exists for every run, also for those with ``store: false`` (``kept`` is False then: the
    API never shows them). A deleted response stays as a tombstone, so that a chain through it is
    refused instead of silently shortened.
    """

    id = models.CharField(max_length=64, primary_key=True)
    # Every response pays for each index: those of columns are left out where one in Meta serves as
    # well, also because PostgreSQL would get two of them for a text.
    project = models.ForeignKey(
        Project, on_delete=models.PROTECT, related_name="responses", db_index=False
    )
    api_key = models.ForeignKey(ApiKey, null=True, on_delete=models.SET_NULL, related_name="+")
    request_id = models.CharField(max_length=128, blank=True)

    # The chain. A root's ``root`` is itself; ``used_at`` means something there only.
    previous = models.ForeignKey(
        "self", null=True, on_delete=models.DO_NOTHING, related_name="+", db_index=False
    )
    root = models.ForeignKey(
        "self", on_delete=models.DO_NOTHING, related_name="chain", db_index=False
    )
    used_at = models.DateTimeField(
        help_text="Last use of the chain (on its root): retention counts from here."
    )

    status = models.CharField(max_length=16, choices=[(s, s) for s in STATUSES])
    kept = models.BooleanField(default=True, help_text="False for requests with store: false.")
    deleted_at = models.DateTimeField(null=True)
    owner = models.CharField(max_length=64, help_text="The process that runs or ran it.")
    model = models.CharField(max_length=512)
    streamed = models.BooleanField(default=False)

    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    first_token_ms = models.PositiveIntegerField(null=True)
    duration_ms = models.PositiveIntegerField(null=True)

    input_tokens = models.PositiveIntegerField(default=0)
    cached_tokens = models.PositiveIntegerField(default=0)
    output_tokens = models.PositiveIntegerField(default=0)
    reasoning_tokens = models.PositiveIntegerField(default=0)
    turns = models.PositiveIntegerField(default=0)
    tool_calls = models.PositiveIntegerField(default=0)
    ignored_tools = models.CharField(
        max_length=200, blank=True, help_text="Declared hosted tools that are not offered here."
    )

    # Where a failed run failed.
    error_code = models.CharField(max_length=64, blank=True)
    error_stage = models.CharField(max_length=32, blank=True)
    upstream_status = models.PositiveSmallIntegerField(null=True)
    upstream_attempts = models.PositiveSmallIntegerField(default=0)

    class Meta:
        default_permissions = ("view", "delete")
        permissions = [("view_payload", "Can read prompts and outputs")]
        indexes = [
            models.Index(fields=["project", "-created_at"], name="response_by_project"),
            models.Index(fields=["-created_at"], name="response_by_time"),
            models.Index(fields=["request_id"], name="response_by_request"),
            models.Index(fields=["root"], name="response_by_root"),
            models.Index(
                fields=["owner"], name="response_running", condition=Q(status__in=RUNNING)
            ),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(status__in=STATUSES), name="response_status_known"),
            models.CheckConstraint(
                condition=Q(status__in=RUNNING) | Q(ended_at__isnull=False),
                name="response_ended_when_terminal",
            ),
        ]

    def __str__(self) -> str:
        return self.id


class ResponsePayload(models.Model):
    """What clients see of a response, but for its items: the JSON text of the resource.

    Kept as text, not as the database's JSON type: what was announced is given back byte for byte,
    and PostgreSQL's type cannot hold every string that JSON can.
    """

    response = models.OneToOneField(
        Response, primary_key=True, on_delete=models.CASCADE, related_name="payload"
    )
    body = models.TextField(help_text="The Response resource without its output.")
    messages = models.TextField(  # noqa: DJ001 - existing rows need no writing
        null=True, help_text="What it adds to later prompts, if that depends on nothing else."
    )

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.response_id)


class StoredItem(models.Model):
    """One item of a response's own input or output, never of its ancestors."""

    INPUT, OUTPUT = 0, 1

    id = models.BigAutoField(primary_key=True)
    response = models.ForeignKey(
        Response, on_delete=models.CASCADE, related_name="items", db_index=False
    )
    direction = models.PositiveSmallIntegerField(choices=[(INPUT, "input"), (OUTPUT, "output")])
    position = models.PositiveIntegerField()
    item_id = models.CharField(max_length=128)
    kind = models.CharField(max_length=64)
    payload = models.TextField(help_text="The item's JSON text.")

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["item_id"], name="item_by_id")]
        constraints = [
            models.UniqueConstraint(
                fields=["response", "direction", "position"], name="item_position_unique"
            )
        ]

    def __str__(self) -> str:
        return self.item_id
