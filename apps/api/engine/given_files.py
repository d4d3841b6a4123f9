"""The files of a conversation, for the container of the code interpreter: what tools are given of
them, and what the model is told of those that it cannot read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from apps.api.engine.media import Shown
from apps.api.protocol.input_files import containers_after, names, safe_name, with_notes
from apps.api.protocol.media import Media
from apps.api.protocol.types import Item
from apps.store.db import in_thread
from apps.store.media import contents
from apps.tools.base import GivenFile
from apps.tools.container_files import DATA


def given_files(
    items: Sequence[Item], shown: Shown, new: Mapping[str, Media], *, project_id: int
) -> tuple[GivenFile, ...]:
    """The files of these items; ``new`` came with the request, the others are read when they are
    needed."""
    containers = containers_after(items)
    return tuple(
        GivenFile(
            name=name,
            size=shown.sizes[key.sha256],
            sha256=key.sha256,
            containers=containers[key],
            read=_reader(key.sha256, new.get(key.sha256), project_id),
        )
        for key, name in names(items).items()
    )


def _reader(
    sha256: str, new: Media | None, project_id: int
) -> Callable[[], Awaitable[bytes | None]]:
    async def read() -> bytes | None:
        if new is not None:
            return new.data
        return (await in_thread(contents, [sha256], project_id=project_id)).get(sha256)

    return read


def told(items: Sequence[Item], shown: Shown, *, in_container: bool) -> list[Item]:
    """The items with a note in the place of each file that has no text."""
    if not shown.sizes:
        return list(items)
    unread = {key: name for key, name in names(items).items() if key.sha256 not in shown.texts}
    notes = {
        key: (
            f"[file {safe_name(key.filename)} is at {DATA}/{name}]"
            if in_container
            else f"[file {safe_name(key.filename)}: its content is not text]"
        )
        for key, name in unread.items()
    }
    return with_notes(items, notes)
