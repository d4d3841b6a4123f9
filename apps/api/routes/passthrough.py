"""Routes that go to the upstream as they are: the same keys and gates, the same bytes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import orjson
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse  # noqa: TID251 - raw bytes, no events
from ninja import Body, Router

from apps.api.auth import caller, hold_place
from apps.api.engine.failures import from_upstream
from apps.api.engine.gates import admit
from apps.api.engine.process import process
from apps.api.upstream.client import TRANSPORT_ERRORS, error_of, send
from apps.api.upstream.errors import UpstreamError

router = Router(tags=["pass-through"])


@router.post("/chat/completions", operation_id="createChatCompletion")
async def chat_completions(request: HttpRequest, body: Body[dict[str, Any]]) -> HttpResponseBase:
    """The upstream's chat completions."""
    return await _forward(request, "/chat/completions", body)


@router.post("/completions", operation_id="createCompletion")
async def completions(request: HttpRequest, body: Body[dict[str, Any]]) -> HttpResponseBase:
    """The upstream's completions."""
    return await _forward(request, "/completions", body)


@router.post("/embeddings", operation_id="createEmbedding")
async def embeddings(request: HttpRequest, body: Body[dict[str, Any]]) -> HttpResponseBase:
    """The upstream's embeddings."""
    return await _forward(request, "/embeddings", body)


async def _forward(request: HttpRequest, path: str, body: dict[str, Any]) -> HttpResponseBase:
    process.check_open()
    hold_place(request)
    await admit(body, caller(request).principal)
    try:
        answer = await send(
            "POST", path, content=orjson.dumps(body), request_id=caller(request).request_id
        )
        if answer.status_code != 200:
            raise await error_of(answer)
    except UpstreamError as exc:
        raise from_upstream(exc, names={}) from exc
    response = StreamingHttpResponse(
        _pieces(answer), content_type=answer.headers.get("content-type", "application/json")
    )
    response["Cache-Control"], response["X-Accel-Buffering"] = "no-cache, no-transform", "no"
    return response


async def _pieces(answer: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The answer's bytes as they come. A cut upstream cuts the client, which is the truth."""
    try:
        async for piece in answer.aiter_raw():
            yield piece
    finally:
        with contextlib.suppress(*TRANSPORT_ERRORS):
            await answer.aclose()
