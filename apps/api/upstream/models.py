"""Which models the upstream serves, and which version it is."""

from __future__ import annotations

import time

from apps.api.protocol.types import JSONObject
from apps.api.upstream.errors import UpstreamBroke, UpstreamRefused
from apps.api.upstream.questions import ask, unreadable

TIME_LIMIT = 5.0
FRESH = 10.0
"""Seconds for which the list serves to choose a default model."""


async def list_models() -> list[JSONObject]:
    """The upstream's list, as it gives it. Raises UpstreamError."""
    what = "list of models"
    body = await ask("GET", "/models", what, limit=TIME_LIMIT)
    models = body.get("data") if isinstance(body, dict) else None
    if not isinstance(models, list) or not all(isinstance(m, dict) and "id" in m for m in models):
        raise unreadable(what)
    return models


async def version() -> str:
    """vLLM's version; empty for a server that does not tell it. Raises UpstreamError when it
    cannot be reached."""
    try:
        body = await ask("GET", "/version", "version", limit=TIME_LIMIT, root=True)
    except (UpstreamRefused, UpstreamBroke):
        return ""
    told = body.get("version") if isinstance(body, dict) else None
    return told if isinstance(told, str) else ""


class ModelNames:
    """The names of the models, read again when they are older than ten seconds."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._read_at = float("-inf")

    async def get(self) -> list[str]:
        if time.monotonic() - self._read_at > FRESH:
            self._names = [str(model["id"]) for model in await list_models()]
            self._read_at = time.monotonic()
        return self._names


model_names = ModelNames()
