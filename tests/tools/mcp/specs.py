"""Specs of servers for tests."""

from __future__ import annotations

from typing import Any

from apps.store.mcp_servers import ServerSpec


def specify(**fields: Any) -> ServerSpec:
    """A spec with defaults."""
    defaults: dict[str, Any] = {
        "id": 1,
        "label": "toys",
        "version": 1,
        "description": "",
        "enabled": True,
        "transport": "streamable_http",
        "connect_timeout": 20.0,
        "call_timeout": 20.0,
        "result_limit": 1000,
        "concurrency": 1,
        "session_scope": "project",
        "allowed_tools": None,
        "read_only": False,
        "trusted": False,
        "approval": "never",
        "switches": {},
    }
    return ServerSpec(**defaults | fields)
