"""Headers that are sent to MCP servers, and their secrets with them."""

from __future__ import annotations

import re
from collections.abc import Mapping

NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
OF_THE_CONNECTION = {
    *("connection", "content-length", "expect", "host", "keep-alive"),
    *("te", "trailer", "transfer-encoding", "upgrade"),
}
"""Those say where a message goes, and where it ends."""


class HeaderUnusable(Exception):
    """A header cannot be sent as it is. The message has its name, and not its value."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The header {name!r} cannot be sent: it has characters that headers cannot have, such as "
            "a line break or a blank at its end."
        )


def check(headers: Mapping[str, str]) -> None:
    """Whether they can be sent as they are: what speaks HTTP quotes the values of those that it
    cannot send. Raises HeaderUnusable."""
    for name, value in headers.items():
        is_text = value.isascii() and value.isprintable() and value == value.strip()
        if not is_text or NAME.fullmatch(name) is None:
            raise HeaderUnusable(name)
