"""Gets the text out of PDFs, each in a child process with limits: PDFs are hostile input."""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORKER = "apps.tools.pdf_worker"
AT_ONCE = 2
"""PDFs that one process has read at the same time; others wait."""


class UnreadablePDF(Exception):
    """No text could be had; the message is written for clients."""


@lru_cache(maxsize=1)
def _executor() -> ThreadPoolExecutor:
    """Threads that wait for the children. Its own: name lookups wait in the default one."""
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="pdf")


async def extract_text(data: bytes, *, pages: int, characters: int, time_limit: float) -> str:
    """The text of a PDF of at most so many pages and characters. Raises UnreadablePDF."""
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(
        _executor(), lambda: _read(data, pages=pages, characters=characters, time_limit=time_limit)
    )


def _read(data: bytes, *, pages: int, characters: int, time_limit: float) -> str:
    limits = (str(pages), str(characters), str(math.ceil(time_limit)))
    try:
        done = subprocess.run(  # noqa: S603 - our own program, and numbers
            [sys.executable, "-P", "-m", WORKER, *limits],
            input=data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])},
            timeout=time_limit,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise UnreadablePDF(f"It takes longer than {time_limit:g} seconds to read.") from exc
    try:
        answer = json.loads(done.stdout)
        text: str = answer["text"]
    except ValueError as exc:  # the limits have ended it, or it could not be started
        raise UnreadablePDF("It takes too much time or memory to read.") from exc
    except KeyError as exc:
        raise UnreadablePDF(answer["problem"]) from exc
    return text
