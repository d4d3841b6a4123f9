"""What every way to the nodes provides, and what it is given of the gateway."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import IO, Any, Protocol

from apps.tools.code_interpreter.calls import Call, FileSaved, NodeEvent


class ContainerFiles(Protocol):
    """The files of one container, as the gateway keeps them."""

    def read(self, file_id: str) -> AsyncIterator[bytes]:
        """The content, in pieces. Raises TransferFailed."""

    async def write(self, path: str, content: IO[bytes], size: int) -> FileSaved:
        """Make it a file of the container, in place of one at this path. Raises
        TransferFailed."""

    def address(self, epoch: int) -> str:
        """A URL by which whoever has it may read the files and write new ones, for as long as a
        call can last and the container has this epoch."""


class Nodes(Protocol):
    """The nodes that this gateway can reach."""

    async def status(self) -> list[dict[str, Any]]:
        """One entry for each, as ``SessionManager.status`` has it. Raises ToolUnavailable where
        there is none, in words for an operator."""

    def run(self, call: Call, files: ContainerFiles) -> AsyncGenerator[NodeEvent, None]:
        """Run the call; the last event is a Done or a Failed. Closing the generator stops it."""

    async def discard(self, container_id: str) -> None:
        """End the interpreter of a container that was deleted, killed, or is too old. Raises
        ToolUnavailable; where there is no node there is no interpreter either."""

    async def close(self) -> None:
        """Let go of connections; they are made anew when they are needed."""
