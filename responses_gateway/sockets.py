"""Sockets that are written to at once.

Twisted puts off every write: it asks the event loop whether the socket takes data, waits a turn
for the answer, writes, and tells the loop to ask no more. A socket nearly always takes what it is given,
and where tokens come singly that detour was a third of what each of them cost.
"""

# ruff: noqa: N802 - the camel case is Twisted's

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from twisted.internet.main import CONNECTION_LOST
from twisted.internet.tcp import Server


class DirectSocket(Server):  # type: ignore[misc]  # Twisted's is not typed
    """A client's connection. What its socket does not take, and what fails, goes Twisted's way,
    which pauses the producer and notices the end."""

    @property
    def unsent(self) -> int:
        """Bytes that the socket has not taken yet."""
        return int(len(self.dataBuffer) - self.offset + self._tempDataLen)

    def doRead(self) -> Any:
        """What has come goes to the connection; returns why there is no more of it, if so."""
        if why := super().doRead():
            return why
        # uvloop calls but once for a connection that was reset, also if there was something to read.
        was_reset = self.connected and self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return CONNECTION_LOST if was_reset else None

    def write(self, data: bytes) -> None:
        if self.connected and not (self.dataBuffer or self._tempDataLen or self._writeDisconnected):
            sent = self.writeSomeData(data)
            if isinstance(sent, int):
                data = data[sent:]
        if data:
            super().write(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))
