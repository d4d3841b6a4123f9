"""What came of a call, in the terms of hosted tools. Pure."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any

import mcp_types as types

from apps.tools.base import Image, Part, Text, ToolFailure, ToolOutcome

IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
LARGEST_IMAGE = 5_000_000
"""Bytes."""
MOST_IMAGES = 16
MOST_IMAGE_BYTES = 8_000_000
"""Of one result: they are kept with the item, and shown to the model again in every later turn."""


def outcome_of(result: types.CallToolResult, *, limit: int) -> ToolOutcome:
    """The parts of a result, in order; no more than ``limit`` characters of text."""
    parts = list(_within(_parts(result.content)))
    if not parts and result.structured_content is not None:
        parts = [Text(json.dumps(result.structured_content, ensure_ascii=False))]
    cut = tuple(_cut(parts, limit))
    if not result.is_error:
        return ToolOutcome(parts=cut)
    words = "\n".join(part.text for part in cut if isinstance(part, Text))
    failure = ToolFailure(kind="tool_error", message=words or "The tool reported an error.")
    return ToolOutcome(parts=cut, failure=failure)


def _parts(content: list[Any]) -> Iterator[Part]:
    for block in content:
        match block:
            case types.TextContent():
                yield Text(block.text)
            case types.ImageContent():
                yield _image(block)
            case types.EmbeddedResource() if isinstance(block.resource, types.TextResourceContents):
                yield Text(f"{block.resource.uri}:\n{block.resource.text}")
            case types.ResourceLink():
                yield Text(f"[{block.name}]({block.uri})")
            case _:
                yield Text(f"[{block.type}, which cannot be shown]")


def _within(parts: Iterator[Part]) -> Iterator[Part]:
    """Images as far as there is room for them."""
    count = size = 0
    for part in parts:
        if not isinstance(part, Image):
            yield part
        elif count == MOST_IMAGES:
            yield Text("[an image that was left out: there are too many]")
        elif size + len(part.data) > MOST_IMAGE_BYTES:
            yield Text("[an image that was left out: with the others, it is too large]")
        else:
            count, size = count + 1, size + len(part.data)
            yield part


def _image(block: types.ImageContent) -> Part:
    if block.mime_type not in IMAGES:
        return Text(f"[an image of type {block.mime_type}, which cannot be shown]")
    try:
        data = base64.b64decode(block.data, validate=True)
    except (binascii.Error, ValueError):
        return Text("[an image that is broken]")
    if len(data) > LARGEST_IMAGE:
        return Text(f"[an image of {len(data):,} bytes, which is too large]")
    return Image(block.mime_type, data)


def _cut(parts: list[Part], limit: int) -> Iterator[Part]:
    """No more than ``limit`` characters of text in all."""
    left = limit
    for part in parts:
        if isinstance(part, Image):
            yield part
        elif len(part.text) <= left:
            left -= len(part.text)
            yield part
        else:
            yield Text(f"{part.text[:left]}\n[{len(part.text) - left:,} characters cut]")
            left = 0
