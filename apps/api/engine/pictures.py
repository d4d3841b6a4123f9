"""Images that code has made: small ones are data in their items, large ones have an address.

A large image is kept once, by its hash, as images of the input are. Stored items refer to it; each
time a client reads them, the reference becomes an address that is signed anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import accumulate

import structlog

from apps.api.conf import conf
from apps.api.protocol.media import PREFIX, Media, code_images
from apps.api.protocol.media_types import fits_models
from apps.api.protocol.results import ResultImage
from apps.api.protocol.types import Item
from apps.store.db import in_thread, in_writer
from apps.store.errors import StoreUnavailable
from apps.store.media import contents, facts, put
from apps.store.snapshots import StoredMedia
from apps.tools.base import Image
from apps.tools.signed_urls import MediaGrant, NotGranted, once_granted, path_of, signed_path

log = structlog.stdlib.get_logger(__name__)

LINK_S = 24 * 3600.0
"""How long an address is good."""


class Pictures:
    """Those of one run. ``made`` are the large ones; ``shown`` is what stands for them before the
    model."""

    def __init__(self, project_id: int, *, kept: bool) -> None:
        self._project_id, self._kept = project_id, kept
        self.made: list[StoredMedia] = []
        self.shown: dict[str, str] = {}

    async def result(self, image: Image, *, linked: bool) -> ResultImage:
        """The image as items have it, with an address if it is large and may be ``linked``. What may
        not be kept, or cannot, is data however large."""
        plain = Media(image.media_type, image.data)
        data_url = await asyncio.to_thread(lambda: plain.data_url)
        is_large = len(image.data) > conf.IMAGE_LINK_BYTES
        if not (linked and is_large and self._kept and conf.PUBLIC_URL):
            return ResultImage(data_url)
        media = await asyncio.to_thread(Media.of, image.media_type, image.data)
        stored = StoredMedia(media.sha256, media.media_type, media.data, "")
        try:
            await in_writer(put, stored, project_id=self._project_id)
        except StoreUnavailable as exc:
            log.warning("image has no address", reason=str(exc))
            return ResultImage(data_url)
        self.made.append(stored)
        if fits_models(image.data):
            self.shown[media.sha256] = data_url
        return ResultImage(link(media.sha256, self._project_id), PREFIX + media.sha256)


def link(sha256: str, project_id: int) -> str:
    """An address of an image that is kept."""
    grant = MediaGrant(project_id, sha256)
    return conf.PUBLIC_URL.rstrip("/") + signed_path(grant, seconds=LINK_S)


async def take_back(items: Sequence[Item], *, project_id: int) -> None:
    """Put references in the place of our own addresses that come back in a client's history, also
    of those that have expired. What is not kept any more stays an address. Raises
    StoreUnavailable."""
    named = [
        (image, sha256)
        for item in items
        for image in code_images(item)
        if (sha256 := _named(image["url"], project_id)) is not None
    ]
    if not named:
        return
    found = await in_thread(facts, {sha256 for _, sha256 in named}, project_id=project_id)
    kept = {fact.sha256 for fact in found}
    for image, sha256 in named:
        if sha256 in kept:
            image["url"] = PREFIX + sha256


def _named(url: str, project_id: int) -> str | None:
    """The hash that an address of ours names, if it is this project's."""
    _, ours, token = url.rpartition(f"{path_of(MediaGrant)}/")
    if not ours:
        return None
    try:
        grant = once_granted(MediaGrant, token)
    except NotGranted:
        return None
    return grant.sha256 if grant.project_id == project_id else None


async def shown(items: Sequence[Item], *, project_id: int) -> dict[str, str]:
    """What stands for the images that stored calls refer to, the latest ones first, as far as
    there is room for them. Raises StoreUnavailable."""
    latest = [image["url"] for item in reversed(items) for image in code_images(item)]
    wanted = {url.removeprefix(PREFIX): None for url in latest if url.startswith(PREFIX)}
    if not wanted:
        return {}
    sizes = {fact.sha256: fact for fact in await in_thread(facts, wanted, project_id=project_id)}
    there = [sizes[sha256] for sha256 in wanted if sha256 in sizes]
    totals = accumulate(fact.size for fact in there)
    room = conf.MEDIA_TOTAL_BYTES
    fitting = [fact for fact, total in zip(there, totals, strict=True) if total <= room]
    data = await in_thread(contents, [fact.sha256 for fact in fitting], project_id=project_id)
    return await asyncio.to_thread(
        lambda: {
            fact.sha256: Media(fact.media_type, data[fact.sha256]).data_url
            for fact in fitting
            if fits_models(data.get(fact.sha256, b""))
        }
    )
