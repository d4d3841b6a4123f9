"""The head of a request: its first line and its headers, read by llhttp.

It is strict where a proxy in front might read the same bytes differently: a body has one length, a
header is one line, a name is a token.
"""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

LARGEST = 16 * 1024
"""Bytes of a head."""
MOST_HEADERS = 500

VERSIONS = {"1.0": b"HTTP/1.0", "1.1": b"HTTP/1.1"}


class MalformedHeadError(Exception):
    """It is no head of HTTP/1.0 or 1.1; the message says why."""


class Head:
    """``headers`` are as ASGI has them, names in lower case; ``first`` has the first value of each.
    ``length`` is that of the body in bytes, None when it comes in chunks."""

    def __init__(self) -> None:
        self.method = self.target = self.version = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.first: dict[bytes, bytes] = {}
        self.length: int | None = 0
        self.is_persistent = self.is_complete = False

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for a word before it sends the body."""
        return (
            self.first.get(b"expect", b"").lower() == b"100-continue"
            and self.version == b"HTTP/1.1"
        )

    # --- What the parser calls --------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name, value = name.lower(), value.strip(b" \t")
        if b"_" not in name:  # applications could not tell it from the same name with a dash
            self.headers.append((name, value))
            self.first.setdefault(name, value)

    def on_headers_complete(self) -> None:
        self.is_complete = True


def read_head(data: bytes) -> Head:
    """The head that these bytes are, with the empty line at its end. Raises MalformedHeadError."""
    head = Head()
    parser = HttpRequestParser(head)
    try:
        parser.feed_data(data)
    except HttpParserUpgrade:
        pass  # whoever wants another protocol has a request all the same
    except HttpParserError as exc:
        raise MalformedHeadError(f"The request is malformed: {exc}.") from None
    version = VERSIONS.get(parser.get_http_version())
    if version is None or not head.is_complete:
        raise MalformedHeadError("The request is neither HTTP/1.1 nor HTTP/1.0.")
    if len(head.headers) > MOST_HEADERS:
        raise MalformedHeadError(f"The request has more than {MOST_HEADERS} headers.")
    head.method, head.version = parser.get_method(), version
    head.length = _length(head)
    head.is_persistent = version == b"HTTP/1.1" and not _wants_to_close(head)
    return head


def _length(head: Head) -> int | None:
    coding = head.first.get(b"transfer-encoding")
    if coding is None:
        return int(head.first.get(b"content-length", 0))
    if coding.lower() != b"chunked" or head.version != b"HTTP/1.1":
        raise MalformedHeadError("The body's transfer encoding is not supported.")
    return None


def _wants_to_close(head: Head) -> bool:
    if b"connection" not in head.first:
        return False
    tokens = b",".join(value for name, value in head.headers if name == b"connection")
    return b"close" in (token.strip().lower() for token in tokens.split(b","))
