"""What the tool host and its callers say to each other: a JSON message with bytes beside it.

A frame is two lengths (32 bits each, big-endian), then the JSON text, then the bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

HEAD = struct.Struct(">II")
MOST = 64 << 20
"""Bytes of one part of a frame. More is a mistake, or no frame at all."""


class Frame(NamedTuple):
    message: dict[str, Any]
    blob: bytes = b""


class BrokenFrame(Exception):
    """What arrived is no frame."""


def pack(message: Mapping[str, Any], blob: bytes = b"") -> bytes:
    text = orjson.dumps(message)
    if len(text) > MOST or len(blob) > MOST:
        raise ValueError(f"A part of a frame has at most {MOST} bytes.")
    return HEAD.pack(len(text), len(blob)) + text + blob


class Channel:
    """One end of a conversation."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, message: Mapping[str, Any], blob: bytes = b"") -> None:
        """Waits while the other end is slow. Raises ConnectionError when it is gone."""
        self._writer.write(pack(message, blob))
        await self._writer.drain()

    async def receive(self) -> Frame | None:
        """The next frame; None when the other end has closed. Raises BrokenFrame."""
        try:
            sizes = HEAD.unpack(await self._reader.readexactly(HEAD.size))
            if max(sizes) > MOST:
                raise BrokenFrame(f"A frame of {sum(sizes)} bytes.")
            text = await self._reader.readexactly(sizes[0])
            blob = await self._reader.readexactly(sizes[1])
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError as exc:
            raise BrokenFrame("A frame without JSON.") from exc
        if not isinstance(message, dict):
            raise BrokenFrame("A frame without an object.")
        return Frame(message, blob)

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
