"""What a kind of hosted tool provides, and what passes between it and the engine.

Tools do not know the wire: how a call looks as items and events is the API's matter, and so are
the names that the model knows the functions by.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """On whose behalf a tool works. ``deadline`` is on the loop's clock; ``root_id`` names the
    chain of responses, which is the conversation."""

    response_id: str
    root_id: str
    project_id: int
    request_id: str
    deadline: float
    key_id: int | None = None
    kept: bool = True
    """False for ``store: false``: nothing of the payload may be written anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFunction:
    """One function that the model may call, under the tool's own name for it. ``parameters`` is
    a JSON schema."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    annotations: Mapping[str, Any] | None = None
    needs_approval: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A request by the model. ``id`` is unique and never used twice: it is the item's id."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Image:
    media_type: str
    data: bytes


Part: TypeAlias = Text | Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file that a tool made: ``id`` in the API, ``path`` as the model knows it."""

    id: str
    container_id: str
    path: str
    size: int

    @property
    def filename(self) -> str:
        return self.path.rsplit("/", 1)[-1]


FailureKind: TypeAlias = Literal["unavailable", "protocol_error", "http_error", "tool_error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFailure:
    """What went wrong, in words for the model and the client. ``code`` is HTTP's or the
    protocol's number; a ``tool_error`` is the tool's own word that it failed."""

    kind: FailureKind
    message: str
    code: int | None = None


@dataclass(frozen=True, slots=True)
class ToolProgress:
    """The call is under way; the stream is kept alive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolOutcome:
    """What came of a call, in the order in which it came. A failure is an outcome too: the model
    is told and goes on."""

    parts: tuple[Part, ...] = ()
    failure: ToolFailure | None = None
    artifacts: tuple[Artifact, ...] = field(default=())


class ToolSession(Protocol):
    """One declared tool during one run."""

    @property
    def functions(self) -> tuple[ToolFunction, ...]:
        """What the model is told of; known once the session is open."""

    def run(self, call: ToolCall) -> AsyncIterator[ToolProgress | ToolOutcome]:
        """Carry the call out: exactly one outcome, at the end. Closing the iterator cancels the
        call where it runs."""


class ToolRuntime(Protocol):
    """Opens sessions of one kind of tool. Leaving a session lets go of what only it used."""

    def open(
        self, declaration: Mapping[str, Any], run: RunInfo
    ) -> AbstractAsyncContextManager[ToolSession]:
        """Raises ToolUnavailable, before the first byte, where the tool cannot be offered, and
        ToolRefused where the declaration is wrong."""


class ToolRefused(Exception):
    """The client's declaration cannot be honoured: a 400 that names ``param`` (below the tool's
    own place, as in ``server_label``)."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ToolUnavailable(Exception):
    """The tool exists but cannot work now: a 503. The message says what an operator can do."""
