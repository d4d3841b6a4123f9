"""Requests on one connection, however their bytes come: each is answered once, in its order, with what
it sent; those that are wrong are refused alike, and clients that leave are forgotten."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.soundness import MANY
from tests.programs import eventually
from tests.toy import Toy, read_all

LAST = b"GET /sized HTTP/1.1\r\nHost: toy\r\nConnection: close\r\n\r\n"

BODIES = st.binary(max_size=40) | st.sampled_from(
    [b"GET / HTTP/1.1\r\n\r\n", b"0\r\n\r\n", b"\r\n", b"x" * 20_000, b"x" * 70_000]
)
METHODS = st.sampled_from(["POST", "GET", "PUT", "DELETE", "OPTIONS"])
CUTS = st.lists(st.integers(0, 400) | st.integers(0, 100_000), max_size=12)
DAMAGES = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 2), st.sampled_from(b"\r\n \t\0:;,0a5\xff")),
    min_size=1,
    max_size=3,
)


@st.composite
def bodies_on_the_wire(draw: st.DrawFn) -> tuple[str, bytes, int]:
    """A header, what follows the head, and how many bytes of body that are."""
    body = draw(BODIES)
    if draw(st.booleans()):
        return f"Content-Length: {len(body)}", body, len(body)
    size = draw(st.sampled_from([1, 7, 4096]))
    extension = draw(st.sampled_from(["", ";a", ';a="b;c"', ";a=b;c=d"]))
    pieces = [body[at : at + size] for at in range(0, min(len(body), 100 * size), size)]
    chunks = [f"{len(piece):x}{extension}\r\n".encode() + piece + b"\r\n" for piece in pieces]
    trailer = draw(st.sampled_from([b"", b"X-Trailer: a\r\n", b"Content-Length: 5\r\n"]))
    end = b"0\r\n" + trailer + b"\r\n"
    return "Transfer-Encoding: chunked", b"".join([*chunks, end]), sum(map(len, pieces))


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, int]:
    """One, and the length of its body."""
    header, follows, length = draw(bodies_on_the_wire())
    headers = draw(st.permutations(["Host: toy", header, "X-Empty:", "X-Note: a"]))
    lines = [f"{draw(METHODS)} /length HTTP/1.1", *headers, "", ""]
    return draw(st.sampled_from([b"", b"", b"\r\n"])) + "\r\n".join(
        lines
    ).encode() + follows, length


@pytest.fixture(scope="module")
def toy() -> Iterator[Toy]:
    running = Toy("--max-body-bytes", "100000", "--request-timeout", "1", "--linger", "1")
    yield running
    try:
        assert "Traceback" not in running.output
    finally:
        running.close()


def answer(toy: Toy, data: bytes, cuts: list[int]) -> bytes:
    """What comes back when it is sent in these pieces; ids are left out."""
    with toy.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
        with contextlib.suppress(ConnectionError):  # it may be refused before it has all come
            for begin, end in itertools.pairwise(places):
                client.sendall(data[begin:end])
        return re.sub(rb"req_\w+", b"", read_all(client))


def test_each_request_is_answered_with_what_it_sent(toy: Toy) -> None:
    @MANY
    @given(sent=st.lists(requests(), max_size=6), cuts=CUTS)
    def ask(sent: list[tuple[bytes, int]], cuts: list[int]) -> None:
        came = answer(toy, b"".join(data for data, _ in sent) + LAST, cuts)
        assert came.endswith(b"\r\n\r\nsized")
        lengths = re.findall(rb"\r\n\r\n\d+\r\n(\d+)\r\n0\r\n\r\n", came)
        assert [int(length) for length in lengths] == [length for _, length in sent]

    ask()


def test_what_is_wrong_is_answered_alike_in_one_piece_and_in_many(toy: Toy) -> None:
    @MANY
    @given(sent=st.lists(requests(), min_size=1, max_size=3), damages=DAMAGES, cuts=CUTS)
    def ask(
        sent: list[tuple[bytes, int]], damages: list[tuple[int, int, int]], cuts: list[int]
    ) -> None:
        damaged = bytearray(b"".join(data for data, _ in sent))
        for place, removed, inserted in damages:
            damaged[place : place + removed] = bytes([inserted])
        data = bytes(damaged) + LAST * 3  # the first may become part of a body
        assert answer(toy, data, []) == answer(toy, data, cuts)

    ask()


def test_clients_that_leave_at_any_place_leave_nothing_behind(toy: Toy) -> None:
    descriptors = Path(f"/proc/{toy.process.pid}/fd")
    if not descriptors.exists():
        pytest.skip("the system does not tell a process's descriptors")
    before = len(list(descriptors.iterdir()))

    @MANY
    @given(sent=requests(), kept=st.integers(0, 200), resets=st.booleans())
    def leave(sent: tuple[bytes, int], kept: int, resets: bool) -> None:
        with toy.connect() as client:
            if resets:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(sent[0][:kept])

    leave()
    eventually(lambda: len(list(descriptors.iterdir())) <= before)
