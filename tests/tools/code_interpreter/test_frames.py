"""What an interpreter sends is hostile until it has been checked."""

from __future__ import annotations

import struct

import pytest

from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.sandboxes.frames import BadFrame, Decoder, Frame, encode
from apps.tools.code_interpreter.sandboxes.output import Output


def decode(data: bytes) -> list[Frame]:
    decoder, frames = Decoder(), []
    for byte in data:
        decoder.feed(bytes([byte]))
        while (frame := decoder.next()) is not None:
            frames.append(frame)
    return frames


def test_frames_arrive_in_any_pieces() -> None:
    frames = decode(encode({"kind": "a"}, b"body") + encode({"kind": "b", "n": 1}))
    assert frames == [Frame({"kind": "a"}, b"body"), Frame({"kind": "b", "n": 1}, b"")]


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">II", 1 << 20, 0),
        struct.pack(">II", 10, 1 << 30),
        struct.pack(">II", 4, 0) + b"null",
        struct.pack(">II", 2, 0) + b"{}",
        struct.pack(">II", 10, 0) + b'{"kind":1}',
        struct.pack(">II", 4, 0) + b"\xff\xff\xff\xff",
        struct.pack(">II", 60_000, 0) + b"[" * 60_000,
    ],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(BadFrame):
        decode(data)


def test_fields_of_the_wrong_type_are_empty() -> None:
    frame = Frame({"kind": "x", "detail": ["x"], "heap": "1", "minus": -1, "yes": True}, b"")
    assert frame.text("detail") == frame.text("missing") == ""
    assert frame.number("heap") == frame.number("minus") == frame.number("yes") == 0


def test_characters_that_were_cut_in_two_are_put_together() -> None:
    output = Output(sb.Limits())
    pieces = ["🐢".encode()[:2], "🐢".encode()[2:]]
    events = [
        e for p in pieces for e in output.take(Frame({"kind": "text", "detail": "stdout"}, p))
    ]
    assert events == [sb.Stdout("🐢")]


def test_output_of_an_unknown_stream_is_dropped() -> None:
    frame = Frame({"kind": "text", "detail": "somewhere"}, b"x")
    assert list(Output(sb.Limits()).take(frame)) == []
