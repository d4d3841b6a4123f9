"""What a call puts out, cut to its limits."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.sandboxes.frames import Frame

MEDIA_TYPES = frozenset({"image/png", "image/jpeg"})
MOST_PIECES = 10_000
"""Events of one call: each has a cost of its own, however little is in it."""
LAST_WORDS = 8192
"""Bytes for the exception that ended the call, whatever was put out before."""
SIGNATURES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}


class Output:
    """Turns frames into events, until the limits are reached; counts what is dropped after."""

    def __init__(self, limits: sb.Limits) -> None:
        self.dropped = self.dropped_display = 0
        self.last_error = ""
        self._pieces, self._reserve = 0, LAST_WORDS
        self._left, self._left_display = limits.output_bytes, limits.display_bytes
        self._decoders = {
            name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")
        }

    def take(self, frame: Frame) -> Iterator[sb.Event]:
        if frame.kind == "error":
            self.last_error = frame.text("detail")
        is_last = frame.kind == "error" and self._reserve > 0
        if self._pieces >= MOST_PIECES and not is_last:
            self._drop(frame)
            return
        for event in self._events(frame):
            self._pieces += 1
            yield event

    def _events(self, frame: Frame) -> Iterator[sb.Event]:
        match frame.kind:
            case "text":
                yield from self._text(frame.text("detail"), frame.body)
            case "result":
                if text := self._cut(frame.body).decode("utf-8", "replace"):
                    yield sb.Result(text)
            case "display":
                yield from self._display(frame.text("detail"), frame.body)
            case "error":
                yield from self._error(frame)

    def rest(self) -> Iterator[sb.Event]:
        """At the end: halves of characters, and what was left out."""
        for name in self._decoders:
            yield from self._text(name, b"", final=True)
        if self.dropped:
            yield sb.Truncated("output", self.dropped)
        if self.dropped_display:
            yield sb.Truncated("display", self.dropped_display)

    def _text(self, stream: str, data: bytes, *, final: bool = False) -> Iterator[sb.Event]:
        if stream in self._decoders:
            text = self._decoders[stream].decode(self._cut(data), final)
            if text:
                yield sb.Stdout(text) if stream == "stdout" else sb.Stderr(text)

    def _display(self, media_type: str, data: bytes) -> Iterator[sb.Event]:
        if media_type not in MEDIA_TYPES or not data.startswith(SIGNATURES[media_type]):
            return
        if len(data) > self._left_display:
            self.dropped_display += len(data)
            return
        self._left_display -= len(data)
        yield sb.Display(media_type, data)

    def _error(self, frame: Frame) -> Iterator[sb.Event]:
        self._left, self._reserve = max(self._left, self._reserve), 0  # once: many may be sent
        value, _, traceback = frame.body.partition(b"\0")
        shown, short = self._cut(traceback), self._cut(value[:2000])
        yield sb.Error(
            self.last_error,
            short.decode("utf-8", "replace"),
            shown.decode("utf-8", "replace").rstrip("\n"),
        )

    def _drop(self, frame: Frame) -> None:
        if frame.kind == "display":
            self.dropped_display += len(frame.body)
        else:
            self.dropped += len(frame.body)

    def _cut(self, data: bytes) -> bytes:
        kept = data[: self._left]
        self._left -= len(kept)
        self.dropped += len(data) - len(kept)
        return kept
