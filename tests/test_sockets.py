"""Sockets that are written to at once: what they ask of the event loop, and what they send."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from responses_gateway.server import install_event_loop  # first: it chooses the event loop
from responses_gateway.sockets import DirectSocket

LARGE = 8 * 1024 * 1024


class Loop:
    """Remembers who wants to be told that a socket takes data."""

    def __init__(self) -> None:
        self.writers: list[DirectSocket] = []

    def addReader(self, reader: DirectSocket) -> None: ...  # noqa: N802 - Twisted's name
    def addWriter(self, writer: DirectSocket) -> None:  # noqa: N802 - Twisted's name
        if writer not in self.writers:
            self.writers.append(writer)

    def removeWriter(self, writer: DirectSocket) -> None:  # noqa: N802 - Twisted's name
        self.writers.remove(writer)


class Pair:
    def __init__(self) -> None:
        install_event_loop()
        ours, self.client = socket.socketpair()
        ours.setblocking(False)
        self.loop = Loop()
        self.direct = DirectSocket(ours, None, ("client", 0), None, 0, self.loop)

    def read(self, size: int) -> bytes:
        """So many bytes, with what the loop does meanwhile."""
        got = bytearray()
        while len(got) < size:
            got += self.client.recv(1 << 20)
            for writer in list(self.loop.writers):
                assert writer.doWrite() is None
        return bytes(got)

    def close(self) -> None:
        self.client.close()
        self.direct.socket.close()


@pytest.fixture
def pair() -> Iterator[Pair]:
    both = Pair()
    yield both
    both.close()


def test_what_the_socket_takes_needs_no_turn_of_the_loop(pair: Pair) -> None:
    pair.direct.write(b"one ")
    pair.direct.writeSequence([b"two ", b"three"])
    assert pair.loop.writers == []
    assert pair.read(13) == b"one two three"


def test_what_the_socket_does_not_take_is_sent_later_and_in_order(pair: Pair) -> None:
    pair.direct.write(b"a" * LARGE)
    assert pair.loop.writers == [pair.direct]
    pair.direct.write(b"b")  # the socket may take it: that would be too early
    assert pair.read(LARGE + 1) == b"a" * LARGE + b"b"
    assert pair.loop.writers == []
    pair.direct.write(b"c")
    assert pair.loop.writers == []


def test_a_client_that_is_gone_is_noticed_by_the_loop(pair: Pair) -> None:
    pair.client.close()
    pair.direct.write(b"a")
    assert pair.loop.writers == [pair.direct]
    assert isinstance(pair.direct.doWrite(), Exception)
