"""The ASGI handler of the API: Django's request and URL resolver, without its thread hops.

Django's own handler keeps a thread for each request and visits it several times; here nothing
but database work leaves the event loop. No middleware, no request signals: the admin has Django's
handler. Whatever goes wrong is answered with the error envelope.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from django.core.exceptions import SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, HttpResponse, HttpResponseBase
from django.urls import ResolverMatch, get_resolver

from apps.api.conf import conf
from apps.api.errors import ApiError, InvalidRequest, NotFound
from apps.api.protocol.ids import new_id
from apps.api.replies import error_reply
from apps.api.sse import EventStream, Send

log = structlog.stdlib.get_logger(__name__)


class ApiRequest(ASGIRequest):
    """A request with its id."""

    def __init__(self, scope: dict[str, Any], body: bytes) -> None:
        super().__init__(scope, io.BytesIO(body))
        self._body = body  # read already: Django need not do it again
        self.id = new_id("req")


class ApiHandler:
    """One instance is the application for all paths of the API."""

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]], send: Send
    ) -> None:
        started = time.perf_counter()
        try:
            body = await _read_body(receive)
            if body is None:
                return
            request = ApiRequest(scope, body)
        except (ApiError, UnicodeDecodeError) as exc:
            await _send_refusal(exc, scope, send)
            return
        task, gone = asyncio.current_task(), False
        assert task is not None

        async def watch() -> None:
            nonlocal gone
            await receive()  # after the body, only http.disconnect can come
            gone = True
            task.cancel()

        watcher = asyncio.create_task(watch())
        try:
            response = await _respond(request)
            await _send(response, request, started, send)
        except asyncio.CancelledError:
            if not gone:
                raise
            task.uncancel()
        finally:
            watcher.cancel()


async def _respond(request: ApiRequest) -> HttpResponseBase:
    """The view's response. Errors that pass by here were not raised by a route."""
    try:
        if "\0" in request.path_info:  # nothing is called so, and PostgreSQL would not look
            raise Http404
        match: ResolverMatch = get_resolver().resolve(request.path_info)
        request.resolver_match = match
        found = match.func(request, *match.args, **match.kwargs)
        # The framework's own views, the API's description and its docs, are plain functions.
        response: HttpResponseBase = await found if inspect.isawaitable(found) else found
    except ApiError as exc:
        return error_reply(exc)
    except Http404:
        return error_reply(NotFound(f"Unknown URL: {request.path}.", code="unknown_url"))
    except SuspiciousOperation:
        return error_reply(InvalidRequest("The request is malformed.", code="bad_request"))
    except Exception:
        log.exception("request failed", request_id=request.id, path=request.path)
        return error_reply(ApiError("An internal error occurred.", code="server_error"))
    if response.status_code == 405:
        return _not_allowed(request, response)
    return response


def _not_allowed(request: ApiRequest, response: HttpResponseBase) -> HttpResponse:
    """The framework's answer, in the API's form."""
    reply = error_reply(
        InvalidRequest(
            f"{request.method} is not allowed for {request.path}.",
            code="method_not_allowed",
            status=405,
        )
    )
    reply["Allow"] = response["Allow"]
    return reply


async def _read_body(receive: Callable[[], Awaitable[dict[str, Any]]]) -> bytes | None:
    """The whole body; None when the client left meanwhile. Raises InvalidRequest (413)."""
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


async def _send(
    response: HttpResponseBase, request: ApiRequest, started: float, send: Send
) -> None:
    response["X-Request-Id"] = request.id
    response["OpenAI-Processing-Ms"] = str(round((time.perf_counter() - started) * 1000))
    if not isinstance(response, EventStream) and not response.streaming:
        assert isinstance(response, HttpResponse)
        response["Content-Length"] = str(len(response.content))
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in response.items()
    ]
    head = {"type": "http.response.start", "status": response.status_code, "headers": headers}
    if isinstance(response, EventStream):
        await response.serve(head, send)
        return
    await send(head)
    if response.streaming:
        await _send_pieces(response, send)
    else:
        assert isinstance(response, HttpResponse)
        await send({"type": "http.response.body", "body": response.content})


async def _send_pieces(response: Any, send: Send) -> None:
    async for piece in response:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _send_refusal(exc: Exception, scope: dict[str, Any], send: Send) -> None:
    """A request that did not even become one."""
    error = (
        exc
        if isinstance(exc, ApiError)
        else InvalidRequest("The request is malformed.", code="bad_request")
    )
    empty = ApiRequest({**scope, "headers": [], "path": "/"}, b"")
    await _send(error_reply(error), empty, time.perf_counter(), send)
