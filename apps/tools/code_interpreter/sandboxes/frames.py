"""What passes between a host and an interpreter: frames of a JSON header and a body of bytes.

What an interpreter sends is hostile: code that runs beside the harness can write whatever it likes.
A frame is checked here for its form, by the session for its sense.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

LENGTHS = struct.Struct(">II")
MOST_HEADER = 64 * 1024
MOST_BODY = 64 * 1024 * 1024


class BadFrame(Exception):
    """These bytes are no frame: who sent them is not the harness any more."""


@dataclass(frozen=True, slots=True)
class Frame:
    """``header`` is an object with a ``kind``, of nothing else that could be relied on."""

    header: dict[str, Any]
    body: bytes

    @property
    def kind(self) -> str:
        kind: str = self.header["kind"]
        return kind

    def text(self, name: str, limit: int = 200) -> str:
        """The header's field if it is text, else an empty string."""
        value = self.header.get(name)
        return value[:limit] if isinstance(value, str) else ""

    def number(self, name: str) -> int:
        """The header's field if it is a number from 0 on, else 0."""
        value = self.header.get(name)
        return value if type(value) is int and value > 0 else 0


def encode(header: dict[str, Any], body: bytes = b"") -> bytes:
    head = json.dumps(header).encode()
    return LENGTHS.pack(len(head), len(body)) + head + body


class Decoder:
    """Puts frames together from bytes as they arrive."""

    def __init__(self) -> None:
        self.most_body = MOST_BODY
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next(self) -> Frame | None:
        """The next complete frame. Raises BadFrame."""
        buffer = self._buffer
        if len(buffer) < LENGTHS.size:
            return None
        head, body = LENGTHS.unpack_from(buffer)
        if head > MOST_HEADER or body > self.most_body:
            raise BadFrame(f"a frame of {head} and {body} bytes")
        start = LENGTHS.size + head
        if len(buffer) < start + body:
            return None
        with memoryview(buffer) as view:
            frame = Frame(_header(bytes(view[LENGTHS.size : start])), bytes(view[start:][:body]))
        del buffer[: start + body]
        return frame


def _header(data: bytes) -> dict[str, Any]:
    try:
        header = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise BadFrame("a header that is not JSON") from exc
    if not isinstance(header, dict) or not isinstance(header.get("kind"), str):
        raise BadFrame("a header without a kind")
    return header
