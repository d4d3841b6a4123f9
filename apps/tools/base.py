"""What a kind of hosted tool provides, and what passes between it and the engine.

Tools do not know the wire: how a call looks as items and events is the API's matter, and so are
the names that the model knows the functions by.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, Protocol, TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenFile:
    """A file of the conversation, for tools that work with files. ``name`` is fit for a folder, and
    no other file of the run has it. ``containers`` have had it since it was given. ``read`` gives
    its bytes, None when they are kept no longer; it raises StoreUnavailable."""

    name: str
    size: int
    sha256: str
    containers: frozenset[str]
    read: Callable[[], Awaitable[bytes | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunInfo:
    """On whose behalf a tool works. ``deadline`` is on the loop's clock; ``root_id`` names the
    chain of responses, which is the conversation; ``container_id`` is the container that the
    context used last."""

    response_id: str
    root_id: str
    project_id: int
    request_id: str
    deadline: float
    key_id: int | None = None
    container_id: str | None = None
    kept: bool = True
    """False for ``store: false``: nothing of the payload may be written to the database."""
    files: tuple[GivenFile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolFunction:
    """One function that the model may call, under the tool's own name for it. ``parameters`` is
    a JSON schema; ``annotations`` are hints about the function, as MCP has them."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    annotations: Mapping[str, Any] | None = None
    needs_approval: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A request by the model. ``id`` is unique and never used twice: it is the item's id.
    ``written`` is the JSON text of the arguments, as the model wrote it. ``approval_request_id`` is
    what the session itself once made, and the client approved."""

    id: str
    name: str
    arguments: Mapping[str, Any]
    written: str
    approval_request_id: str | None = None


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
    is told and goes on. ``artifacts`` are the files that the call made or changed."""

    parts: tuple[Part, ...] = ()
    failure: ToolFailure | None = None
    artifacts: tuple[Artifact, ...] = ()


class Verdict(StrEnum):
    """Whether a client's approval lets a call run."""

    VALID = "valid"
    FORGED = "forged"  #: this gateway never asked for it
    STALE = "stale"  #: the function has changed since: ask again


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the client says of a call that needs its approval. ``arguments`` is JSON text."""

    request_id: str
    name: str
    arguments: str
    approve: bool
    reason: str | None = None


class ToolSession(Protocol):
    """One declared tool during one run."""

    @property
    def label(self) -> str:
        """What items call the tool by: a container's id, a server's label."""

    @property
    def functions(self) -> tuple[ToolFunction, ...]:
        """What the model is told of; known once the session is open."""

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """The files that there were before the run."""

    @property
    def concurrency(self) -> int:
        """How many calls of one turn may run side by side."""

    def run(self, call: ToolCall) -> AsyncGenerator[ToolProgress | ToolOutcome, None]:
        """Carry the call out: exactly one outcome, at the end. Closing the iterator cancels the
        call where it runs. Raises nothing but CancelledError: what goes wrong is an outcome."""

    def approval_request_id(self, name: str, arguments: str) -> str:
        """The id of a request to approve this call: it proves that this gateway asked, for this
        function as it is now. ``arguments`` is JSON text. Does no I/O."""

    async def decide(self, decision: Decision) -> Verdict:
        """Check the decision against the id of its request, and record it."""


class ToolRuntime(Protocol):
    """Opens sessions of one kind of tool. Leaving a session lets go of what only it used."""

    @property
    def offered(self) -> bool:
        """Whether the operator lets requests use the tool."""

    def open(
        self, declaration: Mapping[str, Any], run: RunInfo
    ) -> AbstractAsyncContextManager[ToolSession]:
        """``declaration`` is the tool as the client sent it, validated. Raises ToolUnavailable,
        before the first byte, where the tool cannot be offered, ToolRefused where the
        declaration is wrong, and FilesRefused."""


class ToolRefused(Exception):
    """The client's declaration cannot be honoured: a 400 that names ``param`` (below the tool's
    own place, as in ``server_label``)."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class ServerAway(ToolRefused):
    """The server that the declaration names does not answer: a 400 too, which clients do not repeat
    by themselves."""


class FilesRefused(Exception):
    """The tool has no room for the files of the run: a 400 that names the input."""


class ToolUnavailable(Exception):
    """The tool exists but cannot work now: a 503. The message says what an operator can do."""
