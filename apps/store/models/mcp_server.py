"""MCP servers that operators let requests use, and what is known of their tools and their health."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.core.validators import MinValueValidator, RegexValidator
from django.db import models, transaction
from django.db.models import Q

from apps.store.fields import EncryptedField
from apps.store.models.configuration import Configuration
from apps.store.models.project import Project
from apps.store.secrets import Secret

STREAMABLE_HTTP, SSE, STDIO = "streamable_http", "sse", "stdio"
TRANSPORTS = [(STREAMABLE_HTTP, "Streamable HTTP"), (SSE, "SSE (older servers)"), (STDIO, "stdio")]
NEVER, ALWAYS, PER_TOOL = "never", "always", "per_tool"
APPROVALS = [
    (ALWAYS, "every call"),
    (PER_TOOL, "as each tool says"),
    (NEVER, "no call"),
]
PROJECT, CONVERSATION, SHARED = "project", "conversation", "shared"
SCOPES = [
    (PROJECT, "one for each project"),
    (CONVERSATION, "one for each conversation"),
    (SHARED, "one for all"),
]
CLOSED, OPEN = "closed", "open"
BREAKER_STATES = [(CLOSED, "closed"), (OPEN, "open")]
BOUND_TO_ORIGIN = ("headers", "bearer_token", "oauth_client_secret")
"""Secrets that are for one origin."""


class McpServer(models.Model):
    """How to reach one server, who may use it, and which of its tools.

    ``version`` is the configuration's version of the last change of this row, and never the same
    twice: sessions belong to one version.
    """

    label = models.CharField(
        max_length=64,
        unique=True,
        validators=[
            RegexValidator(r"^[a-zA-Z0-9_-]+\Z", "Use letters, digits, hyphens and underscores.")
        ],
        help_text="What requests call it by: server_label. Letters, digits, hyphens, underscores.",
    )
    description = models.TextField(
        blank=True, help_text="What the server is for; models read it. Requests may give their own."
    )
    enabled = models.BooleanField(default=True, help_text="Whether requests may use it.")

    transport = models.CharField(max_length=16, choices=TRANSPORTS, default=STREAMABLE_HTTP)
    url = models.CharField("URL", max_length=2048, blank=True)
    headers = EncryptedField(help_text="A JSON object of HTTP headers.")
    bearer_token = EncryptedField()
    oauth_client_id = models.CharField("OAuth client id", max_length=512, blank=True)
    oauth_client_secret = EncryptedField(verbose_name="OAuth client secret")
    oauth_issuer = models.CharField(
        "OAuth issuer",
        max_length=2048,
        blank=True,
        help_text="Who gave the client id and secret: they are sent to no other server.",
    )
    oauth_scope = models.CharField(
        "OAuth scope", max_length=1024, blank=True, help_text="Scopes to ask for, space-separated."
    )
    command = models.CharField(max_length=1024, blank=True)
    args = models.JSONField("arguments", default=list, blank=True)
    env = EncryptedField(
        verbose_name="environment", help_text="A JSON object: the whole environment."
    )
    cwd = models.CharField("working directory", max_length=1024, blank=True)

    connect_timeout = models.FloatField(
        default=10.0,
        validators=[MinValueValidator(0.1)],
        help_text="Seconds to connect, to initialise and to list the tools.",
    )
    call_timeout = models.FloatField(
        default=60.0,
        validators=[MinValueValidator(0.1)],
        help_text="Seconds that one call may take.",
    )
    result_limit = models.PositiveIntegerField(
        default=200_000,
        validators=[MinValueValidator(1000)],
        help_text="Most characters of one result; the rest is cut, with a note.",
    )
    concurrency = models.PositiveIntegerField(
        default=8,
        validators=[MinValueValidator(1)],
        help_text="Calls of one turn that may run side by side.",
    )
    session_scope = models.CharField(
        max_length=16,
        choices=SCOPES,
        default=PROJECT,
        help_text="Who shares a session with the server, and with it what the server remembers.",
    )

    every_project = models.BooleanField(default=True, help_text="Whether all projects may use it.")
    projects = models.ManyToManyField(
        Project, blank=True, related_name="mcp_servers", help_text="Who may, if not all."
    )
    allowed_tools = models.JSONField(
        null=True, blank=True, help_text="Names of the tools that may be used; null for all."
    )
    read_only = models.BooleanField(
        default=False,
        help_text="Only tools that say they change nothing (readOnlyHint). Of servers that are "
        "not trusted, no tool counts as such.",
    )
    trusted = models.BooleanField(
        "hints are trusted",
        default=False,
        help_text="Whether what the server says of its tools (readOnlyHint) is believed.",
    )
    approval = models.CharField(
        "needs approval",
        max_length=16,
        choices=APPROVALS,
        default=ALWAYS,
        help_text="Which calls the client has to approve. Requests can be stricter, never laxer.",
    )

    version = models.PositiveBigIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "MCP server"
        ordering = ("label",)
        constraints = [
            models.CheckConstraint(
                condition=Q(transport=STDIO) & ~Q(command="") | ~Q(transport=STDIO) & ~Q(url=""),
                name="mcp_server_reachable",
            )
        ]

    def __str__(self) -> str:
        return self.label

    def save(self, **kwargs: Any) -> None:
        """Counts the change. Stored secrets do not follow the server to another place."""
        for name in self.left_behind:
            setattr(self, name, Secret())
        with transaction.atomic():
            super().save(**kwargs)
            Configuration.bump()
            self.version = Configuration.objects.get(pk=Configuration.SINGLETON).version
            McpServer.objects.filter(pk=self.pk).update(version=self.version)
            # What failed before may work now.
            McpHealth.objects.filter(server=self).update(breaker=CLOSED, failures=0, retry_at=None)

    def delete(self, using: Any = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        with transaction.atomic():
            deleted = super().delete(using=using, keep_parents=keep_parents)
            Configuration.bump()
            return deleted

    @property
    def is_stdio(self) -> bool:
        return self.transport == STDIO

    @property
    def left_behind(self) -> list[str]:
        """The stored secrets that saving erases: they were for another origin, or issuer. Asks the
        database for what was."""
        stored = McpServer.objects.filter(pk=self.pk).first()
        if stored is None:
            return []
        moved = set(BOUND_TO_ORIGIN) if origin(stored.url) != origin(self.url) else set()
        if stored.oauth_issuer != self.oauth_issuer:
            moved.add("oauth_client_secret")
        return [name for name in sorted(moved) if getattr(self, name).is_stored]


def origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port. A URL that cannot be read is an origin of its own."""
    try:
        parts = urlsplit(url)
        return (
            parts.scheme,
            parts.hostname,
            parts.port or {"http": 80, "https": 443}.get(parts.scheme),
        )
    except ValueError:
        return "", url, None


class McpTool(models.Model):
    """A tool as the server last listed it, and the operator's switches. The switches of one that
    is no longer listed are kept, should it come back. JSON is kept as text, in the server's order.
    """

    server = models.ForeignKey(McpServer, on_delete=models.CASCADE, related_name="tools")
    name = models.CharField(max_length=255)
    title = models.CharField(max_length=512, blank=True)
    description = models.TextField(blank=True)
    input_schema = models.TextField(default="{}")
    output_schema = models.TextField(blank=True)
    annotations = models.TextField(default="{}")
    position = models.PositiveIntegerField(default=0)
    seen_at = models.DateTimeField(help_text="When the server first listed it as it is now.")
    gone_at = models.DateTimeField(null=True, help_text="Since when the server lists it no more.")

    enabled = models.BooleanField(default=True, help_text="Whether models may call it.")
    needs_approval = models.BooleanField(
        default=True, help_text="Counts where the server's approval is “as each tool says”."
    )

    class Meta:
        verbose_name = "MCP tool"
        default_permissions = ("change", "view")
        ordering = ("position",)
        constraints = [
            models.UniqueConstraint(fields=["server", "name"], name="mcp_tool_unique"),
        ]

    def __str__(self) -> str:
        return self.name


class McpHealth(models.Model):
    """How the server did of late, in whichever process asked it last. Apart from the server, so
    that keeping it up to date changes no configuration."""

    server = models.OneToOneField(
        McpServer, primary_key=True, on_delete=models.CASCADE, related_name="health"
    )
    last_success_at = models.DateTimeField(null=True)
    last_error_at = models.DateTimeField(null=True)
    last_error = models.TextField(blank=True)
    latency_ms = models.PositiveIntegerField(null=True)
    failures = models.PositiveIntegerField(default=0, help_text="In a row.")
    breaker = models.CharField(max_length=8, choices=BREAKER_STATES, default=CLOSED)
    retry_at = models.DateTimeField(null=True, help_text="When an open breaker lets one try.")
    server_name = models.CharField(max_length=255, blank=True)
    server_version = models.CharField(max_length=255, blank=True)
    tools_listed_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.server_id}: {self.breaker}"
