"""The kinds of hosted tools and what runs them. Nothing is imported before it is needed."""

from __future__ import annotations

from functools import cache

from django.utils.module_loading import import_string

from apps.tools.base import ToolRuntime

RUNTIMES = {
    "code_interpreter": "apps.tools.code_interpreter.runtime.CodeInterpreterRuntime",
    "mcp": "apps.tools.mcp.runtime.McpRuntime",
}


@cache
def runtime(kind: str) -> ToolRuntime:
    """The one runtime of this kind in this process."""
    made: ToolRuntime = import_string(RUNTIMES[kind])()
    return made
