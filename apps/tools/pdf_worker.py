"""The program that reads one PDF: bytes on standard input, a JSON object on standard output.

It is run by ``apps.tools.pdf`` in a process of its own, without secrets in its environment, since
PDFs are programs of a kind and this one comes from anybody. No Django here.
"""

from __future__ import annotations

import io
import json
import os
import sys

from pypdf import PdfReader

MEMORY = 1 << 30
OPEN_FILES = 16


class Problem(Exception):
    """Why there is no text, for clients."""


def main() -> None:
    """Arguments: the most pages, the most characters, the seconds of processor time."""
    pages, characters, seconds = map(int, sys.argv[1:4])
    _limit(seconds)
    try:
        answer = {"text": _text(sys.stdin.buffer.read(), pages, characters)}
    except Problem as exc:
        answer = {"problem": str(exc)}
    except MemoryError:
        answer = {"problem": "It takes too much memory to read."}
    except Exception:  # whatever a broken PDF makes a parser do
        answer = {"problem": "It is damaged, or no PDF."}
    sys.stdout.write(json.dumps(answer))


def _text(data: bytes, pages: int, characters: int) -> str:
    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise Problem("It is protected by a password.")
    if len(reader.pages) > pages:
        raise Problem(f"It has {len(reader.pages)} pages; at most {pages} are read.")
    texts, length = [], 0
    for page in reader.pages:
        texts.append(page.extract_text().strip())
        length += len(texts[-1])
        if length > characters:
            raise Problem(f"It has more text than the {characters} characters that are read.")
    text = "\n\n".join(filter(None, texts)).replace("\0", "")
    if not text:
        raise Problem("It holds no text; pages that are pictures are not read.")
    return text.encode("utf-8", "replace").decode()


def _limit(seconds: int) -> None:
    """Bound what the parser may use. Where there are no such limits, the parent's time limit is
    the only one."""
    if sys.platform == "win32":
        return
    import resource

    os.nice(10)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
