"""Stored items as clients see them: what only the model was to see is left out. Pure."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from apps.api.protocol.media import PREFIX, code_images
from apps.api.protocol.types import Item

MARKS = (b'"code_interpreter_call"', b'"images"')
"""Items without any of these are seen as they are stored."""


def as_seen(text: bytes, *, code_outputs: bool, link: Callable[[str], str]) -> bytes:
    """One item's JSON text for a client. ``code_outputs`` are shown when it asked for them;
    ``link`` gives the address of an image by its hash."""
    if not any(mark in text for mark in MARKS):
        return text
    item: Item = orjson.loads(text)
    if item["type"] == "mcp_call":
        item.pop("images", None)
    elif item["type"] != "code_interpreter_call":
        return text
    elif code_outputs:
        for image in code_images(item):
            if image["url"].startswith(PREFIX):
                image["url"] = link(image["url"].removeprefix(PREFIX))
    else:
        item["outputs"] = None
    return orjson.dumps(item)
