"""What ``serve --mcp-config`` does before anything is served."""

from __future__ import annotations

from collections.abc import Callable

from django.core.management.base import CommandError

from apps.store.encryption import NoEncryptionKey
from apps.store.secrets import SecretUnreadable
from apps.tools.mcp.importing import import_file
from apps.tools.mcp.mcp_json import McpJsonError


def import_mcp(file: str, say: Callable[[str], None]) -> None:
    """Take over the servers of an ``mcp.json``. Raises CommandError."""
    try:
        done = import_file(file)
    except McpJsonError as exc:
        raise CommandError(f"--mcp-config {file}: {exc}") from exc
    except (NoEncryptionKey, SecretUnreadable) as exc:
        raise CommandError(str(exc)) from exc
    say(f"MCP servers of {file}: {done.summary}")
    for remark in done.remarks:
        say(remark)
