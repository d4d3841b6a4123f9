"""Reads the upstream's error bodies, of which there are several shapes, into UpstreamRefused."""

from __future__ import annotations

import re
from typing import Any

from apps.api.upstream.errors import UpstreamRefused

LONGEST = 500
OWN_WORDS = re.compile(r"\s*\(parameter=.*\)$")
"""vLLM ends many messages with its own name of the parameter, which clients may not know."""

GENERIC = "The model server refused the request."


def refused(status: int | None, body: Any, *, retry_after: str | None = None) -> UpstreamRefused:
    """The error of an answer or of an event in a stream.

    ``status`` is the HTTP status; None in a stream, where the body's own ``code`` counts. Shapes:
    ``{"error": {message, param, code}}``, ``{"error": "text"}``, ``{message, param, code}``; others
    tell nothing that a client would understand.
    """
    error = body.get("error", body) if isinstance(body, dict) else None
    detail = error if isinstance(error, dict) else {"message": error}
    if status is None:
        code = detail.get("code")
        status = code if isinstance(code, int) and 400 <= code <= 599 else 500
    param = detail.get("param")
    return UpstreamRefused(
        status,
        _presentable(detail.get("message")),
        param=param.removeprefix("body.") if isinstance(param, str) and param else None,
        retry_after=_seconds(retry_after),
    )


def _presentable(message: object) -> str:
    """Validation messages quote Python types and addresses over many lines: clients get none."""
    if not isinstance(message, str) or "\n" in message.strip() or "Traceback" in message:
        return GENERIC
    return OWN_WORDS.sub("", message.strip())[:LONGEST] or GENERIC


def _seconds(value: str | None) -> float | None:
    """The header may also be a date, which vLLM never sends."""
    return float(value) if value and value.isdecimal() else None
