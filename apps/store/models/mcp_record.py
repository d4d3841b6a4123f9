"""What happened between the gateway and MCP servers: calls, and approvals of calls."""

from __future__ import annotations

from django.db import models

from apps.store.models.api_key import ApiKey
from apps.store.models.mcp_server import McpServer
from apps.store.models.project import Project

APPROVED, DENIED = "approved", "denied"
DECISIONS = [(APPROVED, "approved"), (DENIED, "denied")]
OK, CANCELLED = "ok", "cancelled"


class McpCall(models.Model):
    """One call of a tool, for operators. Arguments and the words of an error are payload: they are
    empty for ``store: false``, and shown to holders of ``store.view_payload`` alone."""

    server = models.ForeignKey(McpServer, null=True, on_delete=models.SET_NULL, related_name="+")
    label = models.CharField(max_length=255, help_text="The server's label at the time.")
    tool = models.CharField(max_length=255)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    api_key = models.ForeignKey(ApiKey, null=True, on_delete=models.SET_NULL, related_name="+")
    response_id = models.CharField(max_length=64, db_index=True)
    item_id = models.CharField(max_length=128)
    arguments = models.TextField(blank=True, help_text="JSON text.")
    outcome = models.CharField(max_length=32, help_text="ok, cancelled, or the kind of failure.")
    error = models.TextField(blank=True)
    started_at = models.DateTimeField()
    duration_ms = models.PositiveIntegerField()

    class Meta:
        verbose_name = "MCP call"
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["-started_at"], name="mcp_call_by_time"),
            models.Index(fields=["server", "-started_at"], name="mcp_call_by_server"),
        ]

    def __str__(self) -> str:
        return self.item_id


class McpApproval(models.Model):
    """A request to approve a call, and what the client said. The arguments are payload, like a
    call's; the reason is the client's word and is kept under the same rule."""

    request_id = models.CharField(max_length=255)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="+")
    api_key = models.ForeignKey(ApiKey, null=True, on_delete=models.SET_NULL, related_name="+")
    server = models.ForeignKey(McpServer, null=True, on_delete=models.SET_NULL, related_name="+")
    label = models.CharField(max_length=255, help_text="The server's label at the time.")
    tool = models.CharField(max_length=255)
    response_id = models.CharField(max_length=64, db_index=True)
    arguments = models.TextField(blank=True, help_text="JSON text.")
    decision = models.CharField(max_length=8, choices=DECISIONS, blank=True)
    reason = models.TextField(blank=True)
    requested_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)
    decided_by = models.CharField(
        max_length=64,
        blank=True,
        db_index=True,
        help_text="The response whose client said so: the reason goes with it.",
    )
    used_by = models.CharField(
        max_length=64, blank=True, help_text="The response that made the approved call."
    )

    class Meta:
        verbose_name = "MCP approval"
        default_permissions = ("view",)
        indexes = [models.Index(fields=["-requested_at"], name="mcp_approval_by_time")]
        constraints = [
            models.UniqueConstraint(fields=["project", "request_id"], name="mcp_approval_unique"),
        ]

    def __str__(self) -> str:
        return self.request_id
