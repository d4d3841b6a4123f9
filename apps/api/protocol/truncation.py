"""Drops the oldest of a history that is too long. Pure: sizes are estimated by text length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from apps.api.protocol.calls import CALL_OF_OUTPUT, CALLS, call_key
from apps.api.protocol.media import slots
from apps.api.protocol.ready_turns import pieces
from apps.api.protocol.types import Item

IMAGE = 4_000
"""An image counts as so many characters of text, whatever its size in bytes."""


def units(items: Sequence[Item]) -> list[list[Item]]:
    """Runs of items that must stay or go together: a call, its output and what is between them,
    with the reasoning before it."""
    found: list[list[Item]] = []
    current: list[Item] = []
    waiting: set[str] = set()
    for item in items:
        current.append(item)
        if item["type"] in CALLS:
            waiting.add(call_key(item))
        elif item["type"] in CALL_OF_OUTPUT:
            waiting.discard(call_key(item))
        elif item["type"] == "mcp_approval_request":
            waiting.add(item["id"])
        elif item["type"] == "mcp_approval_response":
            waiting.discard(item["approval_request_id"])
        if not waiting and item["type"] != "reasoning":
            found.append(current)
            current = []
    if current:
        found.append(current)
    return found


def without_oldest(
    items: Sequence[Item], *, keep: float, media: Mapping[str, str] | None = None
) -> list[Item] | None:
    """The items with the oldest units left out until at most ``keep`` (0 to 1) of the text is
    left. System messages, tools and the last unit always stay. None when nothing can go."""
    grouped = units([piece for item in items for piece in pieces(item)])
    weights = [sum(_weight(item, media or {}) for item in unit) for unit in grouped]
    goal, left = sum(weights) * keep, sum(weights)
    kept = []
    for position, (unit, weight) in enumerate(zip(grouped, weights, strict=True)):
        if left > goal and position < len(grouped) - 1 and not any(map(_stays, unit)):
            left -= weight
        else:
            kept.append(unit)
    if len(kept) == len(grouped):
        return None
    return [item for unit in kept for item in unit]


def _weight(item: Item, media: Mapping[str, str]) -> int:
    files = sum(
        IMAGE if slot.is_image else len(media.get(slot.sha256 or "", "")) for slot in slots(item)
    )
    return len(orjson.dumps(item)) + files


def _stays(item: Item) -> bool:
    return item["type"] == "additional_tools" or item.get("role") in ("system", "developer")
