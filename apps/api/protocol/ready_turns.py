"""Turns of the history whose messages are kept beside their items, ready for every later prompt. Pure.

Only those whose messages depend on nothing else: the user's text, and what the model said to it.
Among items, such a turn is one of a type of its own, which clients cannot send.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from apps.api.protocol.media import SOURCES
from apps.api.protocol.types import Item

READY = "ready_turn"

KINDS = frozenset({"message", "reasoning"})
"""What such a turn consists of."""


def ready_turn(messages: str) -> Item:
    """What stands for a turn's items. ``messages`` are JSON objects with commas between them."""
    return {"type": READY, "messages": messages}


def pieces(item: Item) -> list[Item]:
    """A ready turn, one message each; any other item as it is."""
    if item["type"] != READY:
        return [item]
    messages = orjson.loads(f"[{item['messages']}]")
    return [ready_turn(orjson.dumps(message).decode()) for message in messages]


def stands_alone(items: Sequence[Item]) -> bool:
    """Whether a turn of these items makes the same messages in every prompt. Calls depend on the
    tools, media on where they are kept, sealed reasoning on keys; a system message goes to the
    front."""
    return bool(items) and items[0].get("role") == "user" and all(map(_stands_alone, items))


def _stands_alone(item: Item) -> bool:
    match item["type"]:
        case "message":
            is_said = item["role"] in ("user", "assistant")
            return is_said and not any(part["type"] in SOURCES for part in item["content"])
        case "reasoning":
            return bool(item["content"]) or not item.get("encrypted_content")
        case _:
            return False
