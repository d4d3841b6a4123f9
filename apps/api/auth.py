"""Who is calling: the Authorization header, or this very machine as long as there is no key."""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from django.http import HttpRequest
from ninja.security.base import AuthBase

from apps.api.engine.process import process
from apps.api.errors import InvalidRequest, Unauthenticated, Unavailable
from apps.api.locality import is_local
from apps.store.db import in_thread, in_writer
from apps.store.errors import StoreUnavailable
from apps.store.keys import Principal, anonymous, authenticate, note_use

HOW = "Send 'Authorization: Bearer <key>'; keys are made with `manage.py createapikey`."
IN_URLS = ("api_key", "key")
"""Where other APIs take keys."""


class ApiKeyAuth(AuthBase):
    """Bearer keys. Cookies never count here, nor keys in the URL."""

    openapi_type = "http"
    openapi_scheme = "bearer"
    openapi_bearerFormat = "gw_..."  # noqa: N815 - ninja's name

    async def __call__(self, request: HttpRequest) -> Principal:
        """Raises Unauthenticated, or Unavailable when the database cannot tell."""
        if name := next((name for name in IN_URLS if name in request.GET), None):
            raise InvalidRequest(
                "API keys in URLs end up in logs. " + HOW, code="key_in_url", param=name
            )
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme and scheme.lower() != "bearer":
            raise Unauthenticated("The Authorization header is not a bearer key. " + HOW)
        try:
            return await self._principal(request, token.strip())
        except StoreUnavailable as exc:
            raise Unavailable("The database cannot be reached.") from exc

    async def _principal(self, request: HttpRequest, token: str) -> Principal:
        """A key counts wherever it comes from. Without any key in the database, local callers
        need none, and whatever their SDK insists on sending is as good."""
        if token.startswith("gw_") and (principal := await in_thread(authenticate, token)):
            if principal.use_is_due and principal.key_id is not None:
                process.afterwards(_note(principal.key_id))
            return principal
        if is_local(request.META.get("REMOTE_ADDR"), _lower(request)) and (
            principal := await in_thread(anonymous)
        ):
            return principal
        if token:
            raise Unauthenticated("Incorrect API key provided. " + HOW)
        raise Unauthenticated("No API key provided. " + HOW)


async def _note(key_id: int) -> None:
    """A key stays valid while the database takes no writes."""
    with contextlib.suppress(StoreUnavailable):
        await in_writer(note_use, key_id)


class Caller(NamedTuple):
    """What routes need to know of a request that passed."""

    principal: Principal
    request_id: str

    @property
    def project_id(self) -> int:
        return self.principal.project_id


def caller(request: HttpRequest) -> Caller:
    """Who sent this request; the handler and ApiKeyAuth have put that on it."""
    return Caller(request.auth, request.id)  # type: ignore[attr-defined]


def _lower(request: HttpRequest) -> dict[str, str]:
    return {name.lower(): value for name, value in request.headers.items()}
