"""HTTP answers in JSON, errors among them."""

from __future__ import annotations

from typing import Any

import orjson
from django.http import HttpResponse

from apps.api.errors import ApiError


def json_reply(content: bytes | Any, *, status: int = 200) -> HttpResponse:
    """Bytes are JSON already."""
    body = content if isinstance(content, bytes) else orjson.dumps(content)
    return HttpResponse(body, status=status, content_type="application/json")


def error_reply(error: ApiError) -> HttpResponse:
    """The error envelope."""
    reply = json_reply(error.envelope, status=error.status)
    for name, value in error.headers.items():
        reply[name] = value
    return reply
