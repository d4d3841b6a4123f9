"""What the engine hands to the store and gets from it: plain values, never model instances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple


class ItemText(NamedTuple):
    """One item, rendered: what is stored is what was sent."""

    item_id: str
    kind: str
    json: bytes


class StoredMedia(NamedTuple):
    """An image or file to keep. ``text`` is what the model was told, where bytes are no text."""

    sha256: str
    media_type: str
    data: bytes
    text: str


class MediaFacts(NamedTuple):
    """An image or file that is kept, but for its bytes."""

    sha256: str
    media_type: str
    size: int
    text: str


@dataclass(slots=True, kw_only=True)
class RunSnapshot:
    """One run as it stands: the columns of its row and, when it is kept, its payload.

    Times in milliseconds, ``created_at`` and ``ended_at`` aware. ``output`` is empty until the
    run has ended. ``media`` are those that the request brought, ``media_uses`` the hashes of all
    that its input items refer to.
    """

    id: str
    project_id: int
    key_id: int | None
    request_id: str
    previous_id: str | None
    root_id: str
    owner: str
    model: str
    kept: bool
    streamed: bool
    created_at: datetime
    status: str = "in_progress"
    ended_at: datetime | None = None
    first_token_ms: int | None = None
    duration_ms: int | None = None
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    turns: int = 0
    tool_calls: int = 0
    ignored_tools: str = ""
    error_code: str = ""
    error_stage: str = ""
    upstream_status: int | None = None
    upstream_attempts: int = 0
    body: bytes = b""
    input: Sequence[ItemText] = ()
    output: Sequence[ItemText] = ()
    media: Sequence[StoredMedia] = ()
    media_uses: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """The items of one past response, input before output."""

    completed: bool
    items: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A chain, oldest first. ``revision`` counts the deletions in it."""

    root_id: str
    revision: int
    turns: list[StoredTurn] = field(default_factory=list)


class StoredResponse(NamedTuple):
    """A response as it is read back. ``status`` is the truth where ``body`` says otherwise: the
    process that would have written the end may have died."""

    id: str
    status: str
    body: bytes
    output: list[bytes]


class ItemPage(NamedTuple):
    """One page of a list of items, rendered."""

    items: list[bytes]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ResponsePage(NamedTuple):
    """One page of a list of responses."""

    responses: list[StoredResponse]
    has_more: bool
