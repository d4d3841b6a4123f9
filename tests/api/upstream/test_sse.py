"""Bytes to events, wherever the network cuts them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.api.upstream.sse import SSEDecoder
from tests.scripted_vllm.replies import RECORDINGS

STREAMS = sorted(RECORDINGS.rglob("*.response.sse"))
LINE_ENDS = {"LF": b"\n", "CRLF": b"\r\n", "CR": b"\r"}


def events_of(*pieces: bytes) -> list[bytes]:
    decoder = SSEDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


def test_there_are_streams_to_read() -> None:
    assert len(STREAMS) >= 32


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.name.partition(".")[0])
def test_a_recording_says_the_same_wherever_it_is_cut(path: Path) -> None:
    whole = path.read_bytes()
    expected = [line[6:] for line in whole.split(b"\n\n") if line]
    assert events_of(whole) == expected
    assert events_of(*(whole[i : i + 1] for i in range(len(whole)))) == expected
    step = 1 if len(whole) < 10_000 else 7  # the long one repeats itself
    for cut in range(0, len(whole), step):
        assert events_of(whole[:cut], whole[cut:]) == expected, f"cut at {cut}"


@pytest.mark.parametrize("line_end", LINE_ENDS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 1000])
def test_line_ends_of_every_kind_in_pieces_of_every_size(line_end: str, size: int) -> None:
    text = b": hello\n\ndata: one\n\nevent: x\nid: 1\ndata: two\ndata: lines\n\ndata: [DONE]\n\n"
    sent = text.replace(b"\n", LINE_ENDS[line_end])
    pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
    assert events_of(*pieces) == [b"one", b"two\nlines", b"[DONE]"]


@given(
    st.lists(st.sampled_from([b"data: a", b"data:", b"\n", b"\r", b"\r\n", b": c", b"x", b""])),
    st.data(),
)
def test_how_bytes_are_cut_makes_no_difference(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    cut = data.draw(st.integers(0, len(whole)))
    assert events_of(whole[:cut], b"", whole[cut:]) == events_of(whole)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"", []),
        (b"\n\n\n\n", []),
        (b"data: cut", []),
        (b"data: cut\n", []),
        (b": comment\n\n", []),
        (b"event: ping\nid: 1\nretry: 5\n\n", []),
        (b"data: a\n\n", [b"a"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a \n\n", [b" a "]),
        (b"data\n\n", [b""]),
        (b"data:\n\n", [b""]),
        (b"data: \n\n", [b""]),
        (b"database: a\n\n", []),
        (b"data: a: b\n\n", [b"a: b"]),
        (b"data: a\n\n\n\ndata: b\n\n", [b"a", b"b"]),
        (b"\n\ndata: a\n\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\n: comment\ndata: b\n\n", [b"a\nb"]),
        (b"data: a\ndata:\ndata: b\n\n", [b"a\n\nb"]),
        (b"event: x\ndata: a\n\n", [b"a"]),
        (b"data: a\r\n\ndata: b\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
    ],
)
def test_the_format(sent: bytes, expected: list[bytes]) -> None:
    assert events_of(sent) == expected


def test_an_event_ended_by_cr_does_not_wait_for_more() -> None:
    assert events_of(b"data: a\r\r") == [b"a"]
    assert events_of(b"data: a\r\n\r") == [b"a"]
    assert events_of(b"data: a\r\n\r", b"\ndata: b\r\n\r\n") == [b"a", b"b"]


def test_a_character_that_is_cut_is_whole_again() -> None:
    euro = "data: €\n\n".encode()
    assert events_of(euro[:7], euro[7:8], euro[8:]) == ["€".encode()]


def test_an_event_beyond_the_limit_is_an_error() -> None:
    decoder = SSEDecoder(limit=20)
    assert decoder.feed(b"data: " + b"a" * 14) == []
    with pytest.raises(ValueError, match="too long"):
        decoder.feed(b"a")


def test_the_limit_is_for_one_event_not_for_the_stream() -> None:
    decoder = SSEDecoder(limit=20)
    found = [event for _ in range(100) for event in decoder.feed(b"data: 0123456789\n\n")]
    assert len(found) == 100
