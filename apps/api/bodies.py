"""Request bodies: JSON in memory, what may hold a file on disk."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from typing import IO, Any, TypeAlias

from apps.api.conf import conf
from apps.api.errors import InvalidRequest
from apps.store.conf import conf as store_conf

Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]

ON_DISK = "gateway.body"
"""Where the server puts an upload into the scope: a file, in place of messages."""
IN_MEMORY = 1024 * 1024
FORM = 64 * 1024
"""Bytes of a form beside its file."""


def is_upload(media_type: bytes) -> bool:
    """Whether such a body may be a file."""
    kind = media_type.partition(b";")[0].strip().lower()
    return kind in (b"multipart/form-data", b"application/octet-stream")


def largest_upload() -> int:
    return store_conf.FILE_BYTES + FORM


async def read_body(scope: dict[str, Any], receive: Receive) -> bytes | IO[bytes] | None:
    """The whole body; None when the client left meanwhile. Raises InvalidRequest (413)."""
    if ON_DISK in scope:
        await receive()  # the one message, which is empty
        on_disk: IO[bytes] = scope[ON_DISK]
        return on_disk
    types = [value for name, value in scope["headers"] if name == b"content-type"]
    if types and is_upload(types[0]):
        return await _spool(receive)
    return await _collect(receive)


async def _collect(receive: Receive) -> bytes | None:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if size > conf.MAX_BODY_BYTES:
            raise InvalidRequest(
                f"The request body is larger than {conf.MAX_BODY_BYTES} bytes "
                "(GATEWAY_MAX_BODY_BYTES).",
                code="request_too_large",
                status=413,
            )
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def _spool(receive: Receive) -> IO[bytes] | None:
    """Under another server than ours, which hands uploads over in messages."""
    spooled = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115 - the request owns it
    size = 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if message["type"] == "http.disconnect" or size > largest_upload():
            spooled.close()
            break
        await asyncio.to_thread(spooled.write, part)
        if not message.get("more_body"):
            spooled.seek(0)
            return spooled
    if message["type"] == "http.disconnect":
        return None
    raise InvalidRequest(
        f"The file is larger than {store_conf.FILE_BYTES} bytes (GATEWAY_FILE_BYTES).",
        code="request_too_large",
        status=413,
    )
