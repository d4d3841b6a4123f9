"""Takes in the images and files that a request brings, as data or by URL.

They are checked here, before anything reaches the upstream. Items go on with references in their
place (``protocol/media.py``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from yarl import URL

from apps.api.conf import conf
from apps.api.engine import files
from apps.api.engine.fetching import Fetcher, is_remote
from apps.api.errors import InvalidRequest, NotFound
from apps.api.protocol.input_parts import MAX_TEXT
from apps.api.protocol.media import Media, MediaProblem, Slot, slots
from apps.api.protocol.media_types import (
    OCTETS,
    PDF,
    Labelled,
    read_base64,
    read_data_url,
    read_image,
    read_text,
    sniff,
)
from apps.api.protocol.types import Item
from apps.store.db import in_thread
from apps.store.media import facts
from apps.tools.pdf import UnreadablePDF, extract_text

T = TypeVar("T")


async def take_in(
    items: Sequence[Item], *, project_id: int, any_file: bool = False
) -> dict[str, Media]:
    """The media of a request by their hashes; references take their place in the items, but for
    image URLs that are left to the upstream. ``any_file`` admits files that have no text for the
    model to read. Raises InvalidRequest, StoreUnavailable."""
    places: dict[tuple[str, str], list[tuple[str, Slot]]] = {}
    for position, item in enumerate(items):
        for slot in slots(item):
            if slot.sha256 is None and not is_left_to_upstream(slot):
                same = places.setdefault((slot.name, slot.value), [])
                same.append((f"input[{position}].{slot.path}", slot))
    if not places:
        return {}
    reader = _Reader(Fetcher(), project_id, any_file)
    firsts = [same[0] for same in places.values()]
    found = await all_of([blaming(param, reader.read(slot)) for param, slot in firsts])
    for media, same in zip(found, places.values(), strict=True):
        for _, slot in same:
            if slot.name == "file_url":
                slot.part["filename"] = slot.part["filename"] or _filename(slot.value)
            slot.refer_to(media)
    return {media.sha256: media for media in found}


def is_left_to_upstream(slot: Slot) -> bool:
    """Whether the operator has this URL passed on as it is."""
    return conf.MEDIA_URLS == "pass" and slot.is_image and is_remote(slot.value)


async def blaming(param: str, reading: Coroutine[Any, Any, T]) -> T:
    """Say which parameter is at fault. Raises InvalidRequest for MediaProblem."""
    try:
        return await reading
    except MediaProblem as exc:
        message = f"Invalid value for '{param}': {exc}"
        raise InvalidRequest(message, code=exc.code, param=param) from exc


async def all_of(work: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all side by side; the first error ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except ExceptionGroup as exc:
        raise exc.exceptions[0] from None
    return [task.result() for task in tasks]


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads what one request brings."""

    fetcher: Fetcher
    project_id: int
    any_file: bool

    async def read(self, slot: Slot) -> Media:
        """Raises MediaProblem, StoreUnavailable."""
        if slot.name == "file_id":
            return await self._uploaded(slot)
        if slot.is_image:
            return await image_of(slot.value, self.fetcher)
        if slot.name == "file_url":
            labelled = await self.fetcher.get(slot.value, image=False)
        else:
            _check_size(len(slot.value) * 3 // 4, conf.MEDIA_FILE_BYTES, "file_too_large")
            labelled = await asyncio.to_thread(_labelled, slot.value)
        return await self._file_of(labelled)

    async def _uploaded(self, slot: Slot) -> Media:
        """An uploaded file, which gives its name to a part that has none."""
        largest = conf.MEDIA_IMAGE_BYTES if slot.is_image else conf.MEDIA_FILE_BYTES
        try:
            found, data = await files.read(slot.value, project_id=self.project_id, largest=largest)
        except NotFound as exc:
            raise MediaProblem("file_not_found", f"There is no file '{slot.value}'.") from exc
        except InvalidRequest as exc:
            raise MediaProblem("file_too_large", exc.message) from exc
        labelled = Labelled("", None, data)
        if slot.is_image:
            return await asyncio.to_thread(read_image, labelled)
        slot.part["filename"] = slot.part["filename"] or found.filename
        return await self._file_of(labelled)

    async def _file_of(self, labelled: Labelled) -> Media:
        """The file with its text, if it has any or must have one."""
        try:
            if sniff(labelled.data) == PDF:
                return await _pdf_of(labelled.data, self.project_id)
            return await _text_of(labelled)
        except MediaProblem:
            if not self.any_file:
                raise
        kind = sniff(labelled.data) or OCTETS
        return await asyncio.to_thread(Media.of, kind, labelled.data)


# --- Images ---------------------------------------------------------------------------------------


async def image_of(source: str, fetcher: Fetcher) -> Media:
    """The image of a data URL or http(s) URL. Raises MediaProblem."""
    if is_remote(source):
        labelled = await fetcher.get(source, image=True)
    else:
        _check_size(len(source) * 3 // 4, conf.MEDIA_IMAGE_BYTES, "image_too_large")
        labelled = await asyncio.to_thread(read_data_url, source, code="invalid_base64_image")
    return await asyncio.to_thread(read_image, labelled)


def _check_size(size: int, largest: int, code: str) -> None:
    if size > largest:
        raise MediaProblem(code, f"It is larger than {largest} bytes.")


# --- Files ----------------------------------------------------------------------------------------


def _labelled(source: str) -> Labelled:
    """A file's data, as a data URL or in base64."""
    if source[:5].lower() == "data:":
        return read_data_url(source, code="invalid_value")
    return Labelled("", None, read_base64(source, code="invalid_value"))


async def _text_of(labelled: Labelled) -> Media:
    media = await asyncio.to_thread(read_text, labelled, longest=MAX_TEXT)
    if media is None:
        raise MediaProblem(
            "unsupported_file_type",
            "The file is neither text (in UTF-8) nor a PDF. Others are for code alone, in requests "
            "that declare the tool 'code_interpreter'.",
        )
    return media


async def _pdf_of(data: bytes, project_id: int) -> Media:
    """A PDF that the project has is not read again: clients send their whole history."""
    media = await asyncio.to_thread(Media.of, PDF, data)
    for known in await in_thread(facts, [media.sha256], project_id=project_id):
        if known.text:
            return replace(media, text=known.text)
    try:
        text = await extract_text(
            data,
            pages=conf.MEDIA_PDF_PAGES,
            characters=MAX_TEXT,
            time_limit=conf.MEDIA_PDF_TIMEOUT,
        )
    except UnreadablePDF as exc:
        raise MediaProblem("invalid_value", f"The PDF cannot be read. {exc}") from exc
    return replace(media, text=text)


def _filename(url: str) -> str:
    """The last step of a URL's path. The host stands in where there is none."""
    parsed = URL(url)
    return parsed.name or parsed.host or "file"
