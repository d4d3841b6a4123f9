"""What bytes are, and how they come in data URLs."""

from __future__ import annotations

import pytest

from apps.api.protocol.media import Media, MediaProblem
from apps.api.protocol.media_types import Labelled, read_base64, read_data_url, read_text, sniff
from tests.web import pdf, png


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (png(), "image/png"),
        (b"\xff\xd8\xff\xe0rest", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", None),
        (pdf("x"), "application/pdf"),
        (b"junk before\n%PDF-1.7", "application/pdf"),
        (b" " * 1024 + b"%PDF-1.7", None),
        (b"<svg/>", None),
        (b"BM", None),
        (b"", None),
    ],
)
def test_the_beginning_tells_the_type(data: bytes, found: str | None) -> None:
    assert sniff(data) == found


@pytest.mark.parametrize(
    ("url", "labelled"),
    [
        ("data:image/png;base64,QUI=", Labelled("image/png", None, b"AB")),
        ("data:Image/PNG;Base64,QUI", Labelled("image/png", None, b"AB")),
        ("data:;base64,QUI=", Labelled("", None, b"AB")),
        ("data:,A%20B", Labelled("text/plain", None, b"A B")),
        (
            'data:text/csv; charset="latin-1" ;base64,Q%55I%3D',
            Labelled("text/csv", "latin-1", b"AB"),
        ),
        ("data:image/png;name=a.png;base64,QU\r\nI=\n", Labelled("image/png", None, b"AB")),
    ],
)
def test_data_urls_are_read(url: str, labelled: Labelled) -> None:
    assert read_data_url(url, code="wrong") == labelled


@pytest.mark.parametrize("text", ["*", "QUI=QUI=", "é", "QUIxQ", "gateway-media:00"])
def test_what_is_no_base64_is_a_problem(text: str) -> None:
    with pytest.raises(MediaProblem) as caught:
        read_base64(text, code="wrong")
    assert caught.value.code == "wrong"


@pytest.mark.parametrize(
    "data", [b"\x00", b"a\x00b", b"\xff", b"PK\x03\x04\x00", png(), pdf("x"), b"\xff\xfea"]
)
def test_what_is_no_text_is_none(data: bytes) -> None:
    assert read_text(Labelled("text/plain", None, data), longest=100) is None


@pytest.mark.parametrize("charset", ["nonsense", "base64", "ascii", "utf-16"])
def test_a_charset_that_does_not_fit_makes_no_text(charset: str) -> None:
    assert read_text(Labelled("text/plain", charset, b"caf\xc3\xa9\n"[:5]), longest=100) is None


def test_text_is_kept_as_utf_8() -> None:
    found = read_text(Labelled("text/plain", "latin-1", b"caf\xe9"), longest=4)
    assert found == Media.of("text/plain", "café".encode(), "café")


def test_text_has_a_limit() -> None:
    with pytest.raises(MediaProblem, match="5 characters; at most 4"):
        read_text(Labelled("", None, b"abcde"), longest=4)
