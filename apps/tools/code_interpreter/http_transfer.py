"""Files between a sandbox worker and the gateway: by a signed address that soon expires."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import httpx

from apps.tools.code_interpreter.calls import FileRef, FileSaved, TransferFailed

TIME_LIMIT = httpx.Timeout(30.0, connect=5.0)


class HttpTransfer:
    """The files of one call. ``address`` is the gateway's, signed for this call alone."""

    def __init__(self, address: str) -> None:
        self._address = address

    def fetch(self, file: FileRef) -> Iterable[bytes]:
        url = f"{self._address}/{file.id}"
        try:
            with httpx.stream("GET", url, timeout=TIME_LIMIT, trust_env=False) as answer:
                if not answer.is_success:
                    raise TransferFailed(_reason(answer))
                yield from answer.iter_bytes(1 << 20)
        except httpx.HTTPError as exc:
            raise TransferFailed(_unreachable(exc)) from exc

    def save(self, path: str, size: int, chunks: Iterator[bytes]) -> FileSaved:
        try:
            answer = httpx.put(
                self._address,
                params={"path": path},
                content=chunks,
                headers={"content-type": "application/octet-stream"},
                timeout=TIME_LIMIT,
                trust_env=False,
            )
        except httpx.HTTPError as exc:
            raise TransferFailed(_unreachable(exc)) from exc
        if not answer.is_success:
            raise TransferFailed(_reason(answer))
        return FileSaved(**answer.json())


def _reason(answer: httpx.Response) -> str:
    """What the gateway says, in a line."""
    try:
        answer.read()
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the gateway answered with HTTP {answer.status_code}"


def _unreachable(exc: httpx.HTTPError) -> str:
    return f"the gateway could not be reached ({type(exc).__name__})"
