"""What a client asks for when it declares the code interpreter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apps.tools.base import ToolRefused
from apps.tools.code_interpreter.configuration import memory_problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A container by its id, or any with these properties."""

    container_id: str | None = None
    memory_limit: str = ""
    file_ids: tuple[str, ...] = ()


def wanted(declaration: Mapping[str, Any]) -> Wanted:
    """Raises ToolRefused for what cannot be had."""
    container = declaration["container"]
    if isinstance(container, str):
        return Wanted(container_id=container)
    policy = container.get("network_policy")
    if policy is not None and policy != {"type": "disabled"}:
        raise ToolRefused(
            "Code has no network here: leave 'network_policy' out, or set its type to 'disabled'.",
            param="container.network_policy",
        )
    memory_limit = container.get("memory_limit")
    if (problem := memory_problem(memory_limit)) is not None:
        raise ToolRefused(problem, param="container.memory_limit")
    return Wanted(memory_limit=memory_limit or "", file_ids=tuple(container.get("file_ids") or ()))
