"""What a command that runs for long writes: lines, and one status line that replaces itself."""

from __future__ import annotations

import time

from django.core.management.base import OutputWrapper

REPEAT_AFTER = 30.0
"""Seconds after which an unchanged status is written again where it cannot replace itself."""


class Terminal:
    """The output of a command. Where there is no terminal, it writes whole lines only."""

    def __init__(self, out: OutputWrapper, err: OutputWrapper) -> None:
        self.out, self.err = out, err
        self.in_place = out.isatty()
        self.pending = False
        self.last: tuple[str, float] = ("", 0.0)

    def line(self, text: str = "") -> None:
        self._clear()
        self.out.write(text)
        self.out.flush()

    def error(self, text: str) -> None:
        self._clear()
        self.err.write(text)
        self.err.flush()

    def status(self, text: str, detail: str = "") -> None:
        """Say what is being waited for; ``detail`` (such as the time) alone is no news."""
        if self.in_place:
            self._clear()
            self.out.write(f"{text}{detail}", ending="")
            self.out.flush()
            self.pending = True
            return
        said, when = self.last
        if text != said or time.monotonic() - when >= REPEAT_AFTER:
            self.last = (text, time.monotonic())
            self.line(f"{text}{detail}")

    def _clear(self) -> None:
        if self.pending:
            self.out.write("\r\x1b[K", ending="")
            self.pending = False
