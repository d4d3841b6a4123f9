"""Data URLs to bytes, and what bytes are: told by their beginning, never by their label alone."""

from __future__ import annotations

import base64
import binascii
import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from apps.api.protocol.media import Media, MediaProblem

OCTETS = "application/octet-stream"
PDF = "application/pdf"
TEXT = "text/plain"

BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")


class Labelled(NamedTuple):
    """Bytes and what their sender calls them; an empty type when it says nothing."""

    media_type: str
    charset: str | None
    data: bytes


def read_data_url(url: str, *, code: str) -> Labelled:
    """Raises MediaProblem with this code."""
    head, comma, body = url.partition(",")
    media_type, *parameters = (part.strip() for part in head[len("data:") :].split(";"))
    if not comma:
        raise MediaProblem(code, "The data URL is malformed.")
    charset = next((p[8:].strip('"') for p in parameters if p.lower().startswith("charset=")), None)
    if "base64" in (parameter.lower() for parameter in parameters):
        return Labelled(media_type.lower(), charset, read_base64(body, code=code))
    return Labelled(media_type.lower() or TEXT, charset, unquote_to_bytes(body))


def read_base64(text: str, *, code: str) -> bytes:
    """Raises MediaProblem with this code. Line breaks and missing padding are forgiven."""
    if "\n" in text or "\r" in text or "%" in text:
        text = re.sub(r"\s+", "", unquote_to_bytes(text).decode("latin-1"))
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise MediaProblem(code, "The data is not base64.") from exc


def sniff(data: bytes) -> str | None:
    """The type of an image or PDF; None for everything else."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp"
    if b"%PDF-" in data[:1024]:
        return PDF
    return None


MOST_PIXELS = 1 << 25
"""Of an image that code has made. Larger ones are not for models, whose servers refuse them."""


def fits_models(head: bytes) -> bool:
    """Whether an image, by its beginning, is one to show to a model."""
    kind = sniff(head)
    if kind != "image/png":
        return kind in ("image/jpeg", "image/gif", "image/webp")
    width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    return 0 < width * height <= MOST_PIXELS


def read_image(labelled: Labelled) -> Media:
    """Raises MediaProblem unless label and bytes are those of an image that models can see.

    The bytes decide which one: labels confuse PNG and JPEG all the time.
    """
    label, data = labelled.media_type, labelled.data
    if not data:
        raise MediaProblem("empty_image_file", "The image is empty.")
    if label and not label.startswith("image/") and label not in (OCTETS, "binary/octet-stream"):
        raise MediaProblem("unsupported_image_media_type", f"{label[:100]!r} is not an image.")
    found = sniff(data)
    if found is None or found == PDF:
        raise MediaProblem("invalid_image_format", "The image is not a PNG, JPEG, GIF or WebP.")
    return Media.of(found, data)


def read_text(labelled: Labelled, *, longest: int) -> Media | None:
    """A text file, kept as UTF-8. None when it is not text; raises MediaProblem when it is too
    much of it."""
    if sniff(labelled.data) is not None:
        return None
    text = _decode(labelled)
    if text is None:
        return None
    if len(text) > longest:
        raise MediaProblem(
            "string_above_max_length",
            f"The file has {len(text)} characters; at most {longest} are read.",
        )
    return Media.of(TEXT, text.encode(), text)


def _decode(labelled: Labelled) -> str | None:
    marked = (name for mark, name in BYTE_ORDER_MARKS if labelled.data.startswith(mark))
    encoding = next(marked, None) or labelled.charset or "utf-8"
    try:
        text = labelled.data.decode(encoding)
        text.encode()
    except (UnicodeError, LookupError):
        return None
    return None if "\0" in text else text
