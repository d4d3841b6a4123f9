"""Short questions to the upstream: one request, one JSON answer, read whole."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from apps.api.protocol.types import JSONObject
from apps.api.upstream.client import TRANSPORT_ERRORS, error_of, send, translate
from apps.api.upstream.errors import UpstreamBroke


async def ask(
    method: str,
    path: str,
    what: str,
    *,
    limit: float,
    body: JSONObject | None = None,
    root: bool = False,
) -> Any:
    """The JSON of the answer, which is ``what`` in words. Paths are below ``/v1``, with ``root``
    beside it. Raises UpstreamError, UpstreamRefused for an error status."""
    content = orjson.dumps(body) if body is not None else b""
    try:
        async with asyncio.timeout(limit):
            response = await send(method, path, content=content, root=root)
            if response.status_code != 200:
                raise await error_of(response)
            try:
                answer = b"".join([piece async for piece in response.aiter_raw()])
            finally:
                await response.aclose()
    except TRANSPORT_ERRORS as exc:
        raise translate(exc) from exc
    try:
        return orjson.loads(answer)
    except orjson.JSONDecodeError as exc:
        raise unreadable(what) from exc


def unreadable(what: str) -> UpstreamBroke:
    return UpstreamBroke(f"The model server's {what} is unreadable.")
