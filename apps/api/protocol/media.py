"""Images and files of the input: where they stand in items, and what takes their place there.

Items hold no bytes. A reference by content hash stands where the client put data or a URL; it is
replaced when the model or the client reads the item. Clients cannot write references.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from apps.api.protocol.types import Item, JSONObject

PREFIX = "gateway-media:"
"""Begins a reference; the SHA-256 follows in hexadecimal."""

CONTENTS = {
    "message": "content",
    "function_call_output": "output",
    "custom_tool_call_output": "output",
}
"""Where items that may hold media keep their parts."""

SOURCES = {
    "input_image": ("image_url", "file_id"),
    "input_file": ("file_data", "file_url", "file_id"),
}
"""The members of a part that hold data, a reference, a URL or an uploaded file's id."""


class MediaProblem(Exception):
    """These bytes or this text are not what they should be. The message is for clients."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Media:
    """One image or file. ``text`` is what the model is told of a file; images have none, nor have
    files that only code can read.

    ``data`` may be empty when it was not asked for.
    """

    media_type: str
    data: bytes
    text: str | None = None
    sha256: str = ""

    @classmethod
    def of(cls, media_type: str, data: bytes, text: str | None = None) -> Media:
        """Media with its hash."""
        return cls(media_type, data, text, hashlib.sha256(data).hexdigest())

    @property
    def data_url(self) -> str:
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode()}"


class Slot(NamedTuple):
    """A place in an item that holds data, a reference or a URL. ``path`` leads there from the
    item."""

    path: str
    part: JSONObject
    name: str

    @property
    def value(self) -> str:
        found: str = self.part[self.name]
        return found

    @property
    def is_image(self) -> bool:
        return bool(self.part["type"] == "input_image")

    @property
    def sha256(self) -> str | None:
        """The hash that a reference names; None for what came from a client."""
        return self.value.removeprefix(PREFIX) if self.value.startswith(PREFIX) else None

    def refer_to(self, media: Media) -> None:
        """Put a reference in the place of data or URL."""
        reference = PREFIX + media.sha256
        del self.part[self.name]
        self.part["image_url" if self.is_image else "file_data"] = reference


def slots(item: Item) -> Iterator[Slot]:
    """The places of one item, in order."""
    contents = CONTENTS.get(item["type"], "")
    parts = item.get(contents)
    for position, part in enumerate(parts if isinstance(parts, list) else ()):
        for name in SOURCES.get(part["type"], ()):
            if part.get(name):
                yield Slot(f"{contents}[{position}].{name}", part, name)


def code_images(item: Item) -> list[JSONObject]:
    """The images among the outputs of a call of the code interpreter. ``url`` is data, a reference
    or an address."""
    if item["type"] != "code_interpreter_call":
        return []
    return [output for output in item.get("outputs") or () if output["type"] == "image"]


def references(items: Iterable[Item]) -> set[str]:
    """The hashes of all media that these items refer to."""
    return {slot.sha256 for item in items for slot in slots(item) if slot.sha256}


def code_references(items: Iterable[Item]) -> set[str]:
    """The hashes of the images of code that these items refer to."""
    urls = (image["url"] for item in items for image in code_images(item))
    return {url.removeprefix(PREFIX) for url in urls if url.startswith(PREFIX)}


def give_back(item: Item, media: Mapping[str, Media], *, images: bool) -> None:
    """Put data URLs in the place of references, for the client to read; null for images unless
    they were asked for, and for what is gone."""
    for slot in slots(item):
        found = media.get(slot.sha256 or "")
        if slot.is_image and not images:
            slot.part[slot.name] = None
        elif slot.sha256 is not None:
            slot.part[slot.name] = found.data_url if found else None
