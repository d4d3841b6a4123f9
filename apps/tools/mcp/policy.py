"""Which tools of a server a request may call, and which calls need approval. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apps.store.mcp_servers import ListedTool
from apps.tools.base import ToolRefused
from apps.tools.mcp.target import Target


class Policy:
    """What the server and the request's declaration say together: of an operator's server and a
    request, the stricter wins; of its own server a request may say what it likes."""

    def __init__(self, target: Target, declaration: Mapping[str, Any]) -> None:
        self._spec, self._is_configured = target.spec, target.is_configured
        self._allowed = declaration.get("allowed_tools")
        self._required = declaration.get("require_approval")

    def tools(self, listed: Sequence[ListedTool]) -> list[ListedTool]:
        """Those that may be called. Raises ToolRefused when the request names tools that are not
        there, or none."""
        found = [tool for tool in listed if self._admits(tool)]
        if self._allowed is not None and not found:
            raise ToolRefused(
                "None of the allowed tools is there." + self._explanation, param="allowed_tools"
            )
        return found

    @property
    def _explanation(self) -> str:
        asks = isinstance(self._allowed, Mapping) and self._allowed.get("read_only") is not None
        if not asks or self._believes:
            return ""
        return " What this server says of its tools (readOnlyHint) is not trusted here."

    @property
    def _believes(self) -> bool:
        """Whether the filter goes by the server's hints. Who brings a server chose to; of the
        operator's, clients do not know whether they are honest."""
        return self._spec.trusted or not self._is_configured

    def _admits(self, tool: ListedTool) -> bool:
        if not self._spec.admits(tool.name, tool.annotations):
            return False
        if self._allowed is None:
            return True
        if isinstance(self._allowed, list):
            return tool.name in self._allowed
        hint = tool.annotations.get("readOnlyHint") is True
        return _matches(
            self._allowed, tool, read_only=None if hint and not self._believes else hint
        )

    def needs_approval(self, tool: ListedTool) -> bool:
        """Whether the client has to approve calls of this tool."""
        if not self._is_configured:
            return self._asked(tool, default=True)
        operator = self._spec.needs_approval(tool.name)
        return operator or self._asked(tool, default=operator)

    def _asked(self, tool: ListedTool, *, default: bool) -> bool:
        """What the request says; ``default`` where it says nothing."""
        required = self._required
        if required is None:
            return default
        if isinstance(required, str):
            return required == "always"
        trusted = self._spec.is_read_only(tool.annotations)
        always, never = required.get("always"), required.get("never")
        if always is not None and _matches(always, tool, read_only=trusted):
            return True
        if never is not None:
            return not _matches(never, tool, read_only=trusted)
        return False if always is not None else default


def _matches(wanted: Mapping[str, Any], tool: ListedTool, *, read_only: bool | None) -> bool:
    """A filter of names and of what only reads; both must hold where both are given. Of a tool of
    which nobody knows whether it only reads, ``None``, neither holds."""
    names, only = wanted.get("tool_names"), wanted.get("read_only")
    if names is not None and tool.name not in names:
        return False
    if only is not None and read_only != only:
        return False
    return names is not None or only is not None
