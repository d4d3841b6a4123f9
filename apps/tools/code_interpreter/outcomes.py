"""What the events of a call amount to, for the model and the client."""

from __future__ import annotations

from apps.tools.base import Artifact, Image, Part, Text, ToolFailure, ToolOutcome
from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.calls import Failed, FileSaved, NodeEvent, Note, Placed

ENDS: dict[sb.CallStatus, str] = {
    "timeout": "The code was stopped: it ran for longer than {wall:g} s.",
    "cancelled": "The code was interrupted.",
    "oom": "The code was stopped: it took more memory than the container has.",
    "crashed": "The interpreter crashed.",
}
STATE_LOST = "Interpreter restarted: variables are lost, files in /mnt/data are kept."


class Collected:
    """Takes the events of one call in order; then ``outcome`` tells it all."""

    def __init__(self, container_id: str, *, wall_s: float) -> None:
        self._container_id, self._wall_s = container_id, wall_s
        self._parts: list[Part] = []
        self._words: list[str] = []
        self._files: dict[str, Artifact] = {}
        self._failure: ToolFailure | None = None
        self.end: sb.Done | Failed | None = None
        self.node = ""

    def add(self, event: NodeEvent) -> None:
        match event:
            case Placed():
                self.node = event.node
            case sb.Stdout() | sb.Stderr():
                self._words.append(event.text)
            case sb.Result():
                self._line(event.text)
            case sb.Error():
                self._line(event.traceback)
            case sb.Truncated():
                self._note(f"{event.dropped} bytes of {event.stream} were left out.")
            case Note():
                self._note(event.text)
            case sb.Display():
                self._show(event)
            case FileSaved():
                self._files[event.path] = Artifact(
                    id=event.id,
                    container_id=self._container_id,
                    path=f"{sb.DATA_FOLDER}/{event.path}",
                    size=event.size,
                )
            case sb.Done():
                self._finish(event)
            case Failed():
                self.end = event
                self._failure = ToolFailure(kind="unavailable", message=event.message)

    def outcome(self) -> ToolOutcome:
        self._close_text()
        if self.end is None:
            self._failure = ToolFailure(kind="unavailable", message="The call has no outcome.")
        return ToolOutcome(
            parts=tuple(self._parts), failure=self._failure, artifacts=tuple(self._files.values())
        )

    # --- For operators ----------------------------------------------------------------------------

    @property
    def word(self) -> str:
        """How it ended."""
        match self.end:
            case sb.Done(status=status):
                return status
            case Failed(kind=kind):
                return kind
            case _:
                return "lost"

    @property
    def ms(self) -> int:
        return self.end.ms if isinstance(self.end, sb.Done) else 0

    @staticmethod
    def text(outcome: ToolOutcome) -> str:
        """What came out, without images."""
        parts = [part.text if isinstance(part, Text) else "[image]\n" for part in outcome.parts]
        failure = [f"[{outcome.failure.message}]"] if outcome.failure else []
        return "".join([*parts, *failure])

    # --- Parts ------------------------------------------------------------------------------------

    def _finish(self, end: sb.Done) -> None:
        self.end = end
        if (words := ENDS.get(end.status)) is not None:
            self._note(words.format(wall=self._wall_s))
        if end.state_lost:
            self._note(STATE_LOST)

    def _show(self, display: sb.Display) -> None:
        if not display.media_type.startswith("image/"):
            self._line(display.data.decode(errors="replace"))
            return
        self._close_text()
        self._parts.append(Image(display.media_type, display.data))

    def _line(self, text: str) -> None:
        """Text that begins on a line of its own, and ends it."""
        if self._words and not self._words[-1].endswith("\n"):
            self._words.append("\n")
        self._words.append(text if text.endswith("\n") else text + "\n")

    def _note(self, text: str) -> None:
        self._line(f"[{text}]")

    def _close_text(self) -> None:
        if text := "".join(self._words):
            self._parts.append(Text(text))
        self._words.clear()
