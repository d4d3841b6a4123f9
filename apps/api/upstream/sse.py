"""Splits a byte stream into the data of server-sent events. No I/O, no JSON."""

from __future__ import annotations


class SSEDecoder:
    """Feed bytes as they come, cut anywhere; get the ``data`` of each complete event.

    Implements the parts of the event stream format that servers of chat completions use: lines
    ended by LF, CRLF or CR, comments, several data lines in one event. Names and ids of events
    are dropped.
    """

    def __init__(self, *, limit: int = 64 * 1024 * 1024) -> None:
        self._buffer = b""
        self._limit = limit
        self._after_cr = False  # an LF that comes first belongs to the line end before it

    def feed(self, data: bytes) -> list[bytes]:
        """The data of the events that ``data`` completes. Raises ValueError when one event grows
        beyond the limit."""
        if self._after_cr or b"\r" in data:
            data = self._without_cr(data)
        *blocks, self._buffer = (self._buffer + data).split(b"\n\n")
        if len(self._buffer) > self._limit:
            raise ValueError("an event is too long")
        found = []
        for block in blocks:
            # What vLLM sends is one line; the rest of the format is rare.
            if block.startswith(b"data: ") and b"\n" not in block:
                found.append(block[6:])
            elif (value := _data_of(block)) is not None:
                found.append(value)
        return found

    def _without_cr(self, data: bytes) -> bytes:
        if not data:
            return data
        rest = data.removeprefix(b"\n") if self._after_cr else data
        self._after_cr = data.endswith(b"\r")
        return rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _data_of(block: bytes) -> bytes | None:
    """The data lines of one event, joined; None when it has none."""
    lines = []
    for line in block.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
    return b"\n".join(lines) if lines else None
