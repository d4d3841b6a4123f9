"""What comes out of the composer, and the events about the response as a whole.

The events of items stand with the items. Those that come once per token are rendered from
templates instead of models (``HotEvent``); a test compares both ways.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import BaseModel

from apps.api.protocol.response import Status

CREATED = "response.created"
IN_PROGRESS = "response.in_progress"

TERMINAL = {
    Status.COMPLETED: "response.completed",
    Status.INCOMPLETE: "response.incomplete",
    Status.FAILED: "response.failed",
}
"""The event that ends a stream. There is none for a cancelled response: its client is gone."""


class Event(NamedTuple):
    """One event as clients receive it: ``json`` is the whole object, type and number included."""

    type: str
    sequence_number: int
    json: bytes


class ErrorDetail(BaseModel):
    """What went wrong, as HTTP error bodies have it."""

    type: str
    code: str | None
    message: str
    param: str | None


class ErrorEvent(BaseModel):
    """The ``error`` event: nested as the service sends it, with the flat fields that the SDKs type
    beside it (openai-surface (e))."""

    type: str = "error"
    sequence_number: int
    error: ErrorDetail
    code: str | None
    message: str
    param: str | None
