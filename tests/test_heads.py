"""Heads of requests: what is read from them, and what is refused."""

from __future__ import annotations

import pytest

from responses_gateway.heads import MOST_HEADERS, MalformedHeadError, read_head


def text(*lines: str, first: str = "POST /v1/responses?a=b HTTP/1.1") -> bytes:
    return "\r\n".join([first, "Host: gateway", *lines, "", ""]).encode("latin-1")


def test_a_head_is_as_asgi_has_it() -> None:
    head = read_head(text("X-Note: one ", "x-note:two", "Content-Length: 12", "X-Umlaut: \xe4"))
    assert (head.method, head.target, head.version) == (
        b"POST",
        b"/v1/responses?a=b",
        b"HTTP/1.1",
    )
    assert head.headers == [
        (b"host", b"gateway"),
        (b"x-note", b"one"),
        (b"x-note", b"two"),
        (b"content-length", b"12"),
        (b"x-umlaut", b"\xe4"),
    ]
    assert head.first[b"x-note"] == b"one"
    assert head.length == 12


def test_names_with_underscores_are_dropped() -> None:
    """`X_Forwarded_Proto` would be taken for what only a proxy may say."""
    assert read_head(text("X_Forwarded_Proto: https")).headers == [(b"host", b"gateway")]


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        ((), 0),
        (("Content-Length: 0",), 0),
        (("Content-Length: 7",), 7),
        (("Transfer-Encoding: chunked",), None),
        (("Transfer-Encoding: Chunked ",), None),
    ],
)
def test_the_length_of_the_body(lines: tuple[str, ...], length: int | None) -> None:
    assert read_head(text(*lines)).length == length


@pytest.mark.parametrize(
    ("version", "lines", "stays"),
    [
        ("1.1", (), True),
        ("1.1", ("Connection: keep-alive",), True),
        ("1.1", ("Connection: Close",), False),
        ("1.1", ("Connection: te, close",), False),
        ("1.1", ("Connection: te", "Connection: close"), False),
        ("1.1", ("Connection: Upgrade", "Upgrade: websocket"), True),
        ("1.0", (), False),
        ("1.0", ("Connection: keep-alive",), False),
    ],
)
def test_whether_the_connection_stays(version: str, lines: tuple[str, ...], stays: bool) -> None:
    assert read_head(text(*lines, first=f"GET / HTTP/{version}")).is_persistent is stays


@pytest.mark.parametrize(
    ("first", "lines", "expects"),
    [
        ("PUT / HTTP/1.1", ("Expect: 100-Continue",), True),
        ("PUT / HTTP/1.0", ("Expect: 100-continue",), False),
        ("PUT / HTTP/1.1", (), False),
    ],
)
def test_who_waits_for_a_word(first: str, lines: tuple[str, ...], expects: bool) -> None:
    assert read_head(text(*lines, first=first)).expects_continue is expects


MALFORMED = {
    "no version": text(first="GET /"),
    "version 0.9": text(first="GET / HTTP/0.9"),
    "version 2.0": text(first="GET / HTTP/2.0"),
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\r\n\r\n",
    "an unknown method": text(first="MAKE / HTTP/1.1"),
    "a blank in the target": text(first="GET /a b HTTP/1.1"),
    "a byte of no URL": text(first="GET /\xe4 HTTP/1.1"),
    "a header without a name": text(": a"),
    "a header without a colon": text("X-Note"),
    "a blank after a name": text("X-Note : a"),
    "a header of two lines": text("X-Note: a", " b"),
    "a line that ends in LF": text("X-Note: a\nX-More: b"),
    "a line that ends in CR": text("X-Note: a\rX-More: b"),
    "a NUL": text("X-Note: a\0b"),
    "a control character": text("X-Note: a\x0bb"),
    "two lengths": text("Content-Length: 5", "Content-Length: 6"),
    "one length twice": text("Content-Length: 5", "Content-Length: 5"),
    "a list of lengths": text("Content-Length: 5, 5"),
    "a length with a sign": text("Content-Length: +5"),
    "a length that is none": text("Content-Length: five"),
    "an empty length": text("Content-Length:"),
    "an endless length": text("Content-Length: " + "9" * 40),
    "a length and chunks": text("Content-Length: 5", "Transfer-Encoding: chunked"),
    "chunks and a length": text("Transfer-Encoding: chunked", "Content-Length: 5"),
    "another coding": text("Transfer-Encoding: gzip"),
    "another coding in chunks": text("Transfer-Encoding: gzip, chunked"),
    "two codings": text("Transfer-Encoding: gzip", "Transfer-Encoding: chunked"),
    "chunks of chunks": text("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    "chunks in a coding": text("Transfer-Encoding: chunked, gzip"),
    "a coding of no name": text("Transfer-Encoding: xchunked"),
    "the coding identity": text("Transfer-Encoding: identity"),
    "chunks of HTTP/1.0": text("Transfer-Encoding: chunked", first="POST / HTTP/1.0"),
    "too many headers": text(*[f"X-{n}: a" for n in range(MOST_HEADERS)]),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_others_may_read_differently_is_refused(case: str) -> None:
    with pytest.raises(MalformedHeadError, match=r"\.$"):
        read_head(MALFORMED[case])
