"""Who is calling: the Authorization header, or this very machine as long as there is no key."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import NamedTuple

from django.http import HttpRequest
from ninja.security.base import AuthBase
from structlog.contextvars import bind_contextvars

from apps.api.engine.failures import database_needed
from apps.api.engine.places import places
from apps.api.engine.process import process
from apps.api.errors import InvalidRequest, Unauthenticated
from apps.api.locality import headers_of, is_local
from apps.store.db import in_thread, in_thread_together, in_writer
from apps.store.errors import StoreUnavailable
from apps.store.keys import Principal, anonymous, authenticate_all, note_use

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
        # META is there: request.GET and request.headers would be made for this.
        query = request.META["QUERY_STRING"]
        if query and (name := next((name for name in IN_URLS if name in request.GET), None)):
            raise InvalidRequest(
                "API keys in URLs end up in logs. " + HOW, code="key_in_url", param=name
            )
        scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme and scheme.lower() != "bearer":
            raise Unauthenticated("The Authorization header is not a bearer key. " + HOW)
        with database_needed():
            principal = await self._principal(request, token.strip())
        bind_contextvars(project_id=principal.project_id)  # for every line logged from here on
        return principal

    async def _principal(self, request: HttpRequest, token: str) -> Principal:
        """A key counts wherever it comes from. Without any key in the database, local callers
        need none, and whatever their SDK insists on sending is as good."""
        if token.startswith("gw_") and (
            principal := await in_thread_together(authenticate_all, token)
        ):
            if principal.use_is_due and principal.key_id is not None:
                process.afterwards(_note(principal.key_id))
            return principal
        if is_local(request.META.get("REMOTE_ADDR"), headers_of(request)) and (
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
    """What routes need to know of a request that passed. ``address`` is that of the peer."""

    principal: Principal
    request_id: str
    address: str

    @property
    def project_id(self) -> int:
        return self.principal.project_id


def caller(request: HttpRequest) -> Caller:
    """Who sent this request; the handler and ApiKeyAuth have put that on it."""
    address = request.META.get("REMOTE_ADDR", "")
    return Caller(request.auth, request.id, address)  # type: ignore[attr-defined]


def hold_place(request: HttpRequest) -> None:
    """Take a place in this process for as long as the request is being answered. Raises TooMany
    or Unavailable."""
    who = caller(request)
    client = who.address if who.principal.key_id is None else who.principal.key_id
    places.take(client)
    request.held.append(partial(places.give_back, client))  # type: ignore[attr-defined]
