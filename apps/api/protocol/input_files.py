"""The files among the parts of items: how a container has them, and what is said in their place.

A file is its content under its name. Names in a container follow from the order of the items alone:
as a conversation grows, they stay what they were.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from apps.api.protocol.media import CONTENTS, PREFIX
from apps.api.protocol.types import Item, JSONObject

LONGEST_NAME = 200
"""Bytes: file systems take 255."""
UNFIT = re.compile(r'[<>"\[\]]')
"""What would end the tag or the note that holds a name."""


class FileKey(NamedTuple):
    sha256: str
    filename: str | None


def files_of(item: Item) -> Iterator[FileKey]:
    """The files of one item, once they are references."""
    parts = item.get(CONTENTS.get(item["type"], ""))
    for part in parts if isinstance(parts, list) else ():
        if (key := _key(part)) is not None:
            yield key


def _key(part: JSONObject) -> FileKey | None:
    reference = part.get("file_data") if part["type"] == "input_file" else None
    if not reference:
        return None
    return FileKey(reference.removeprefix(PREFIX), part.get("filename"))


def names(items: Sequence[Item]) -> dict[FileKey, str]:
    """A name for each file, of its own and fit for a folder."""
    found: dict[FileKey, str] = {}
    taken: set[str] = set()
    for key in (key for item in items for key in files_of(item)):
        if key not in found:
            found[key] = _free(safe_name(key.filename), taken)
            taken.add(found[key])
    return found


def containers_after(items: Sequence[Item]) -> dict[FileKey, frozenset[str]]:
    """The containers of the calls that came after each file was given, unless they failed: these
    had the file."""
    found: dict[FileKey, frozenset[str]] = {}
    later: frozenset[str] = frozenset()
    for item in reversed(items):
        if item.get("container_id") and item.get("status") != "failed":
            later |= {item["container_id"]}
        found |= dict.fromkeys(files_of(item), later)
    return found


def with_notes(items: Sequence[Item], notes: Mapping[FileKey, str]) -> list[Item]:
    """The items with these texts in the place of files; the others are left as they are."""
    return [_noted(item, notes) for item in items] if notes else list(items)


def _noted(item: Item, notes: Mapping[FileKey, str]) -> Item:
    if not any(key in notes for key in files_of(item)):
        return item
    contents = CONTENTS[item["type"]]
    return item | {contents: [_part(part, notes) for part in item[contents]]}


def _part(part: JSONObject, notes: Mapping[FileKey, str]) -> JSONObject:
    key = _key(part)
    if key is None or key not in notes:
        return part
    return {"type": "input_text", "text": notes[key]}


def safe_name(filename: str | None) -> str:
    """The last step of a path, without what does not belong into the name of a file."""
    last = (filename or "").replace("\\", "/").rstrip("/").rpartition("/")[2].strip()
    name = "".join(each if each.isprintable() else "_" for each in UNFIT.sub("_", last))
    if name.startswith("..") or name == ".":
        name = "_" + name
    return _cut(name or "file", LONGEST_NAME)


def _cut(name: str, longest: int) -> str:
    """A name that is not too long, with its ending."""
    if len(name.encode()) <= longest:
        return name
    stem, ending = _split(name)
    ending = ending if len(ending.encode()) <= 20 else ""
    room = longest - len(ending.encode())
    return stem.encode()[:room].decode(errors="ignore") + ending


def _free(name: str, taken: set[str]) -> str:
    stem, ending = _split(name)
    number = 2
    while name in taken:
        name = f"{stem}-{number}{ending}"
        number += 1
    return name


def _split(name: str) -> tuple[str, str]:
    stem, dot, ending = name.rpartition(".")
    return (stem, dot + ending) if stem else (name, "")
