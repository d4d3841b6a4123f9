"""Endpoints that the API has and this gateway does not: each is refused by its name, so that nobody
takes it for a wrong URL."""

from __future__ import annotations

from typing import NoReturn

from django.http import HttpRequest
from ninja import Router

from apps.api.errors import InvalidRequest

router = Router()

ENDPOINTS = {
    "/responses/compact": "Compaction",
    "/conversations": "The Conversations API",
    "/vector_stores": "The Vector Stores API",
    "/uploads": "The Uploads API",
    "/chat/completions/": "Reading stored chat completions",
}
"""Their paths, with all that is below them, and what they are called. With a slash at the end, only
what is below is not offered."""

METHODS = ["GET", "POST", "DELETE"]


async def refuse(request: HttpRequest) -> NoReturn:
    raise _unsupported(request)


async def refuse_below(request: HttpRequest, below: str) -> NoReturn:
    raise _unsupported(request)


for path in ENDPOINTS:
    if not path.endswith("/"):
        router.api_operation(METHODS, path, include_in_schema=False)(refuse)
    below = path.rstrip("/") + "/{path:below}"
    router.api_operation(METHODS, below, include_in_schema=False)(refuse_below)


def _unsupported(request: HttpRequest) -> InvalidRequest:
    path = request.path.removeprefix("/v1")
    name = next(name for start, name in ENDPOINTS.items() if path.startswith(start))
    message = f"{name} ({request.method} {request.path}) is not supported by this gateway."
    return InvalidRequest(message, code="unsupported_endpoint")
