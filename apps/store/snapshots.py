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
    that its input items refer to, ``made`` the large images of its calls. ``messages`` are what it
    adds to later prompts, if that depends on nothing else.
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
    messages: str | None = None
    input: Sequence[ItemText] = ()
    output: Sequence[ItemText] = ()
    media: Sequence[StoredMedia] = ()
    media_uses: Sequence[str] = ()
    made: Sequence[StoredMedia] = ()


class StoredTurn(NamedTuple):
    """One past response: what it adds to prompts where that is kept, else its items, input before
    output."""

    completed: bool
    messages: str | None
    items: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A chain, oldest first."""

    root_id: str
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


class StoredFile(NamedTuple):
    """An uploaded file, but for its bytes. ``expires_at`` None: never."""

    id: str
    filename: str
    purpose: str
    size: int
    blob: str
    created_at: datetime
    expires_at: datetime | None


class FilePage(NamedTuple):
    """One page of a list of files."""

    files: list[StoredFile]
    has_more: bool


class StoredContainer(NamedTuple):
    """A container. ``expired`` ones can be looked at, and not be used."""

    id: str
    project_id: int
    name: str
    memory_limit: str
    idle_minutes: int
    created_at: datetime
    last_active_at: datetime
    expired: bool
    node: str
    epoch: int


class ContainerPage(NamedTuple):
    """One page of a list of containers."""

    containers: list[StoredContainer]
    has_more: bool


class Room(NamedTuple):
    """How many files a container may hold, and how many bytes in all of them."""

    files: int
    size: int


class StoredContainerFile(NamedTuple):
    """A file in a container, but for its bytes. ``path`` is as code knows it; ``sha256`` is
    theirs."""

    id: str
    container_id: str
    path: str
    size: int
    source: str
    blob: str
    created_at: datetime
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRun:
    """One piece of code that was run. ``code`` and ``output`` are empty where nothing of the
    payload may be kept."""

    id: str
    container_id: str
    response_id: str
    outcome: str
    duration_ms: int
    node: str = ""
    code: str = ""
    output: str = ""
