"""Requests that are not to be carried out twice: those with an ``Idempotency-Key``.

A key is claimed before anything else is done for its request. It stays with the request unless
that came to nothing: then it is released, and the request may be sent again.
"""

from __future__ import annotations

import asyncio
import hashlib

import structlog

from apps.api.engine.failures import database_needed
from apps.api.engine.process import process
from apps.api.errors import InvalidRequest
from apps.api.protocol.ids import new_id
from apps.store import idempotency as store
from apps.store.db import in_writer
from apps.store.errors import StoreUnavailable

log = structlog.stdlib.get_logger(__name__)

HEADER = "Idempotency-Key"
HEADER_IN_META = "HTTP_IDEMPOTENCY_KEY"
LONGEST = 255


class Claim:
    """A key that a request has, which will be answered by this response."""

    def __init__(self, response_id: str) -> None:
        self.response_id = response_id

    async def release(self) -> None:
        """Let the key go. A client that leaves meanwhile changes nothing."""
        await asyncio.shield(process.afterwards(self._release()))

    async def _release(self) -> None:
        try:
            await in_writer(store.release, self.response_id)
        except StoreUnavailable as exc:
            log.warning("key not released", response_id=self.response_id, error=str(exc))


async def claim(key: str, content: bytes, *, project_id: int) -> Claim | store.Earlier:
    """Take the key for a request with this content, or find the same one, whose response can be
    told again. Raises InvalidRequest, Unavailable."""
    if not 0 < len(key) <= LONGEST or not key.isprintable():
        raise InvalidRequest(
            f"The header {HEADER} has 1 to {LONGEST} printable characters.",
            code="invalid_value",
            param=HEADER,
        )
    sha256 = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
    mine = Claim(new_id("resp"))
    with database_needed():
        earlier = await _take(key, mine, project_id=project_id, body_sha256=sha256)
    if earlier is None:
        return mine
    if earlier.body_sha256 != sha256:
        raise _conflict(
            "idempotency_key_reused",
            f"{_name(earlier)}, had another body. Use another key for this one.",
        )
    if not earlier.told:
        raise _untold(earlier)
    return earlier


async def _take(
    key: str, mine: Claim, *, project_id: int, body_sha256: str
) -> store.Earlier | None:
    """Whoever leaves meanwhile does not keep the key."""
    owner = await process.owner()
    unit = in_writer(
        store.claim,
        key,
        project_id=project_id,
        body_sha256=body_sha256,
        response_id=mine.response_id,
        owner=owner,
    )
    taking = process.afterwards(unit)
    try:
        return await asyncio.shield(taking)
    except asyncio.CancelledError:
        process.afterwards(_undo(taking, mine))
        raise


async def _undo(taking: asyncio.Task[store.Earlier | None], mine: Claim) -> None:
    await asyncio.wait([taking])
    await mine.release()


def _untold(earlier: store.Earlier) -> InvalidRequest:
    if not earlier.ended:
        error = _conflict(
            "idempotency_key_in_use",
            f"{_name(earlier)}, is still in progress. Send this one again when that has ended.",
        )
        error.repeatable, error.retry_after = True, 1
        return error
    if earlier.streamed:
        way = f"was answered by a stream: see GET /v1/responses/{earlier.response_id}"
    else:
        way = "left no response that can be told again: it was not stored, deleted, or lost"
    return _conflict("idempotency_key_in_use", f"{_name(earlier)}, {way}. Or use another key.")


def _name(earlier: store.Earlier) -> str:
    return f"The request with this {HEADER}, whose response is '{earlier.response_id}'"


def _conflict(code: str, message: str) -> InvalidRequest:
    """Clients are not to repeat it by themselves: it would not help."""
    error = InvalidRequest(message, code=code, status=409)
    error.repeatable = False
    return error
