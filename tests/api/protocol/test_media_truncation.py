"""How much media count when a history is shortened."""

from __future__ import annotations

from apps.api.protocol.truncation import IMAGE, without_oldest
from apps.api.protocol.types import Item


def message(*parts: Item) -> Item:
    return {"type": "message", "role": "user", "content": list(parts)}


PICTURE = {"type": "input_image", "image_url": "gateway-media:a", "detail": "auto"}
FILE = {"type": "input_file", "file_data": "gateway-media:b", "filename": "b.txt"}
LONG = {"type": "input_text", "text": "x" * 3000}
LAST = message({"type": "input_text", "text": "?"})


def test_an_image_counts_the_same_whatever_its_size() -> None:
    for size in (10, 10_000_000):
        media = {"a": "x" * size}
        items = [message(PICTURE), message(LONG), LAST]
        assert IMAGE > 3000
        assert without_oldest(items, keep=0.5, media=media) == items[1:]


def test_a_file_counts_by_its_text() -> None:
    items = [message(FILE), message(LONG), LAST]
    assert without_oldest(items, keep=0.9, media={"b": "x" * 10_000}) == items[1:]
    assert without_oldest(items, keep=0.1, media={"b": "x"}) == [LAST]
