"""A call of the code interpreter on its way to a node, and what comes back: plain values.

A node is the process that holds interpreters: the tool host, or a sandbox worker. On the way,
everything is a JSON message, with bytes beside it where there are any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Protocol, TypeAlias

from apps.tools.code_interpreter import sandbox as sb


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRef:
    """A file that the container holds. ``path`` is below /mnt/data and relative to it;
    ``version`` stands for this content."""

    id: str
    path: str
    size: int
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Code to run in a container.

    ``epoch`` counts the nodes that have held the container: a node refuses what is meant for one
    before it. ``stateful`` says that the last call left variables behind. ``transfer`` is how files
    travel: it means something to whoever carries them.
    """

    id: str
    container_id: str
    code: str
    epoch: int = 0
    stateful: bool = False
    limits: sb.Limits = field(default_factory=sb.Limits)
    files: tuple[FileRef, ...] = ()
    transfer: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, message: Mapping[str, Any]) -> Call:
        """Other keys are for others. Raises KeyError, TypeError for what is no call."""
        values = {each.name: message[each.name] for each in fields(cls)}
        values["limits"] = sb.Limits(**values["limits"])
        values["files"] = tuple(FileRef(**ref) for ref in values["files"])
        return cls(**values)


# --- What comes back ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Placed:
    """The call goes to this node, in this epoch of the container. Before everything else."""

    node: str
    epoch: int


@dataclass(frozen=True, slots=True)
class Note:
    """A line of the node's own, for the model to read."""

    text: str


@dataclass(frozen=True, slots=True)
class FileSaved:
    """A file that the code made or changed is a file of the container now."""

    id: str
    path: str
    size: int
    version: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The end of a call that had no proper one: the infrastructure failed, not the code.

    ``busy``: it waited in vain and never ran. ``unavailable``: it cannot run here. ``lost``: it may
    have run, to whatever point. ``stale``: another node holds the container.
    """

    kind: Literal["busy", "unavailable", "lost", "stale"]
    message: str


NodeEvent: TypeAlias = sb.Event | Placed | Note | FileSaved | Failed

KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (
        sb.Started,
        sb.Stdout,
        sb.Stderr,
        sb.Result,
        sb.Display,
        sb.Error,
        sb.Truncated,
        sb.FileChanged,
        sb.FileDeleted,
        sb.Done,
        Placed,
        Note,
        FileSaved,
        Failed,
    )
}


def to_message(event: NodeEvent) -> tuple[dict[str, Any], bytes]:
    """The event as JSON, and its bytes."""
    if isinstance(event, sb.Display):
        return {"event": "Display", "media_type": event.media_type}, event.data
    return {"event": type(event).__name__, **asdict(event)}, b""


def from_message(message: Mapping[str, Any], blob: bytes) -> NodeEvent:
    """Raises KeyError, TypeError for what is no event."""
    values = dict(message)
    kind = KINDS[values.pop("event")]
    if kind is sb.Display:
        values["data"] = blob
    event: NodeEvent = kind(**values)
    return event


def is_end(event: NodeEvent) -> bool:
    """Whether nothing follows."""
    return isinstance(event, sb.Done | Failed)


# --- Files ----------------------------------------------------------------------------------------


class TransferFailed(Exception):
    """A file could not be had or kept; the message is for the model."""


class Transfer(Protocol):
    """How the files of one call travel between its node and the gateway. Blocks."""

    def fetch(self, file: FileRef) -> Iterable[bytes]:
        """The content, in pieces. Raises TransferFailed, at the first piece at the latest."""

    def save(self, path: str, size: int, chunks: Iterator[bytes]) -> FileSaved:
        """Make it a file of the container. Raises TransferFailed."""
