"""Errors in the API's form, for requests that never reach the API."""

from __future__ import annotations

import uuid

import orjson


def envelope(code: str, message: str, *, kind: str) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """Body and headers of the answer."""
    error = {"message": message, "type": kind, "param": None, "code": code}
    headers = [
        (b"content-type", b"application/json"),
        (b"x-request-id", b"req_" + uuid.uuid4().hex.encode()),
    ]
    return orjson.dumps({"error": error}), headers
