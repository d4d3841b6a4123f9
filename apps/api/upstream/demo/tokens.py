"""The demo's tokenizer: words, numbers and punctuation marks, each with the blank before it.

Pieces joined again are the text, whatever it was. It has no vocabulary: ids are hashes, so they
can be counted and compared, not decoded.
"""

import re
import zlib
from collections.abc import Iterator
from typing import Final

# Long words are several tokens, so that a megabyte without a blank does not count as one.
_TOKEN: Final = re.compile(r"\s?\w{1,12}|\s?[^\w\s]|\s+")


def split(text: str) -> Iterator[str]:
    return (match.group() for match in _TOKEN.finditer(text))


def count(text: str) -> int:
    return sum(1 for _ in _TOKEN.finditer(text))


def token_id(token: str) -> int:
    return zlib.crc32(token.encode("utf-8", "surrogatepass")) % 50_000
