"""Fetches a file that is known beforehand: what does not have the pinned hash is not kept."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path

import httpx

Progress = Callable[[str, int, int], None]
"""What is fetched, bytes so far, bytes in all (0 if unknown)."""


class FetchFailed(Exception):
    """The file could not be had, or is another than expected. The message says which and why."""


def fetch(source: str, name: str, progress: Progress, *, most: int = 512 << 20) -> bytes:
    """The file ``name`` below ``source``, a URL or a folder. Raises FetchFailed."""
    if "://" not in source:
        try:
            return (Path(source) / name).read_bytes()
        except OSError as exc:
            raise FetchFailed(f"{name} is not in {source}") from exc
    url = f"{source.rstrip('/')}/{name}"
    data = bytearray()
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=30) as response:
            response.raise_for_status()
            total = int(response.headers.get("content-length", 0))
            for chunk in response.iter_bytes(1 << 16):
                data += chunk
                if len(data) > most:
                    raise FetchFailed(f"{url} is larger than {most} bytes")
                progress(name, len(data), total)
    except (httpx.HTTPError, ValueError) as exc:
        raise FetchFailed(f"{url} cannot be fetched: {str(exc) or type(exc).__name__}") from exc
    return bytes(data)


def check_integrity(data: bytes, integrity: str, name: str) -> None:
    """``integrity`` as npm writes it: algorithm, dash, base64. Raises FetchFailed."""
    algorithm, _, expected = integrity.partition("-")
    if base64.b64encode(hashlib.new(algorithm, data).digest()).decode() != expected:
        raise FetchFailed(f"{name} is not the file that was expected: its {algorithm} differs")


def check_sha256(data: bytes, expected: str, name: str) -> None:
    """Raises FetchFailed."""
    if hashlib.sha256(data).hexdigest() != expected:
        raise FetchFailed(f"{name} is not the file that was expected: its sha256 differs")
