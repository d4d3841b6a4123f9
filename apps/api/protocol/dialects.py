"""The two dialects of the wire. Events are made with OpenAI's names; this table holds what the
Open Responses specification (2026-04-24) calls differently."""

from __future__ import annotations

from apps.api.protocol.events import Event

OPEN_RESPONSES = {
    "response.reasoning_text.delta": "response.reasoning.delta",
    "response.reasoning_text.done": "response.reasoning.done",
}


def to_open_responses(event: Event) -> Event:
    """The same event under its name there. Every event's JSON begins with its type."""
    name = OPEN_RESPONSES.get(event.type)
    if name is None:
        return event
    old, new = f'{{"type":"{event.type}"'.encode(), f'{{"type":"{name}"'.encode()
    return event._replace(type=name, json=event.json.replace(old, new, 1))
