"""Media that items refer to, found again: for the model in every turn, for clients that read."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import NamedTuple

import orjson

from apps.api.conf import conf
from apps.api.engine.intake import is_left_to_upstream
from apps.api.errors import InvalidRequest
from apps.api.protocol.media import PREFIX, Media, Slot, give_back, slots
from apps.api.protocol.media_types import TEXT
from apps.api.protocol.types import Item
from apps.store.db import in_thread
from apps.store.media import contents, facts
from apps.store.snapshots import ItemPage, MediaFacts

MARKS = (b'"input_image"', f'"{PREFIX}'.encode())
"""What stands in the JSON of items with media, and may stand in others."""


class Shown(NamedTuple):
    """What stands for media before the model, by their hashes: data URLs of images, texts of files
    that have one. ``sizes`` are those of all."""

    images: Mapping[str, str]
    texts: Mapping[str, str]
    sizes: Mapping[str, int]


async def shown(items: Sequence[Item], new: Mapping[str, Media], *, project_id: int) -> Shown:
    """What the model sees of the media of these items. ``new`` are those that came with the
    request, the others are stored. Raises InvalidRequest, StoreUnavailable."""
    found = [slot for item in items for slot in slots(item)]
    _check_urls(found)
    wanted = {slot.sha256 for slot in found if slot.sha256}
    if not wanted:
        return Shown({}, {}, {})
    stored = await in_thread(facts, wanted - new.keys(), project_id=project_id)
    if wanted - new.keys() - {fact.sha256 for fact in stored}:
        raise InvalidRequest(
            "An image or file of the history is not stored any more.",
            code="image_file_not_found",
            param="input",
        )
    sizes = {fact.sha256: fact.size for fact in stored}
    sizes |= {sha256: len(media.data) for sha256, media in new.items() if sha256 in wanted}
    _check_total(sum(sizes.values()))
    images = {slot.sha256 for slot in found if slot.is_image}
    seen = [fact.sha256 for fact in stored if fact.sha256 in images or fact.media_type == TEXT]
    data = await _data(seen, project_id)
    old = {fact.sha256: _media(fact, data.get(fact.sha256, b"")) for fact in stored}
    known = {**old, **new}
    return Shown(
        images=await asyncio.to_thread(_data_urls, known, images),
        texts={sha256: found.text for sha256, found in known.items() if found.text is not None},
        sizes=sizes,
    )


def _check_urls(found: Iterable[Slot]) -> None:
    """Stored items may hold URLs that were left to the upstream, by an operator who has changed
    his mind since."""
    for slot in found:
        if slot.sha256 is None and not is_left_to_upstream(slot):
            raise InvalidRequest(
                "The history names an image by a URL, which is not passed on any more "
                "(GATEWAY_MEDIA_URLS).",
                code="unsupported_value",
                param="input",
            )


def _check_total(size: int) -> None:
    if size > conf.MEDIA_TOTAL_BYTES:
        raise InvalidRequest(
            f"The images and files of the input and its history have {size} bytes, which is more "
            f"than {conf.MEDIA_TOTAL_BYTES} (GATEWAY_MEDIA_TOTAL_BYTES).",
            code="context_length_exceeded",
            param="input",
        )


async def _data(sha256s: Iterable[str], project_id: int) -> dict[str, bytes]:
    wanted = list(sha256s)
    return await in_thread(contents, wanted, project_id=project_id) if wanted else {}


def _media(fact: MediaFacts, data: bytes) -> Media:
    text = data.decode() if fact.media_type == TEXT else fact.text or None
    return Media(fact.media_type, data, text, fact.sha256)


def _data_urls(media: Mapping[str, Media], images: Container[str | None]) -> dict[str, str]:
    return {sha256: media[sha256].data_url for sha256 in media if sha256 in images}


# --- For clients ----------------------------------------------------------------------------------


async def with_data(page: ItemPage, *, project_id: int, images: bool) -> ItemPage:
    """A page of items as clients see them: data URLs instead of references, null for images
    unless they are asked for. Raises StoreUnavailable.

    A page that would be too heavy ends early, but never before its first item.
    """
    parsed = [orjson.loads(text) if any(m in text for m in MARKS) else None for text in page.items]
    sought = [_sought(item, images=images) if item else set() for item in parsed]
    stored = await in_thread(facts, set().union(*sought), project_id=project_id)
    kept = _fitting(sought, {fact.sha256: fact.size for fact in stored})
    data = await _data(set().union(*sought[:kept]), project_id)
    media = {fact.sha256: _media(fact, data.get(fact.sha256, b"")) for fact in stored}
    items = await asyncio.to_thread(_given_back, page.items[:kept], parsed, media, images)
    if kept == len(page.items):
        return page._replace(items=items)
    last: str = orjson.loads(page.items[kept - 1])["id"]
    return ItemPage(items=items, first_id=page.first_id, last_id=last, has_more=True)


def _sought(item: Item, *, images: bool) -> set[str]:
    return {slot.sha256 for slot in slots(item) if slot.sha256 and (images or not slot.is_image)}


def _fitting(sought: Sequence[set[str]], sizes: Mapping[str, int]) -> int:
    """How many items there is room for."""
    total = 0
    for position, sha256s in enumerate(sought):
        total += sum(sizes.get(sha256, 0) for sha256 in sha256s)
        if position and total > conf.MEDIA_TOTAL_BYTES:
            return position
    return len(sought)


def _given_back(
    texts: Sequence[bytes],
    parsed: Sequence[Item | None],
    media: Mapping[str, Media],
    images: bool,
) -> list[bytes]:
    given = []
    for text, item in zip(texts, parsed, strict=False):
        if item is not None:
            give_back(item, media, images=images)
        given.append(text if item is None else orjson.dumps(item))
    return given
