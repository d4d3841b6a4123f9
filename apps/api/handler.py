"""The ASGI handler of the API: Django's request and URL resolver, without its thread hops.

Django's own handler keeps a thread for each request and visits it several times; here nothing
but database work leaves the event loop. No middleware, no request signals: the admin has Django's
handler. Whatever goes wrong is answered with the error envelope.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import IO, Any

import structlog
from django.core.exceptions import SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.http import Http404, HttpResponse, HttpResponseBase
from django.urls import ResolverMatch, URLResolver, get_resolver

from apps import metrics
from apps.api import tracing
from apps.api.bodies import Receive, read_body
from apps.api.errors import ApiError, InvalidRequest, NotFound
from apps.api.protocol.ids import new_id
from apps.api.replies import error_reply
from apps.api.sse import EventStream, Send

log = structlog.stdlib.get_logger(__name__)


GONE = 499
"""The status that is counted when the client left before it was decided."""

UNWATCHED = 0.03
"""Seconds for which nobody looks whether a client leaves: many answers take no longer."""

METHODS = frozenset({"GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS"})


class ApiRequest(ASGIRequest):
    """A request with its id and what became of it. ``upload`` is the body where that may be too
    large for memory."""

    def __init__(self, scope: dict[str, Any], body: bytes | IO[bytes]) -> None:
        self.upload = io.BytesIO(body) if isinstance(body, bytes) else body
        super().__init__(scope, self.upload)
        if isinstance(body, bytes):
            self._body = body  # read already: Django need not do it again
        self.id = new_id("req")
        self.status = GONE  # of the answer, once there is one
        self.held: list[Callable[[], None]] = []  # what gives back when the answer has ended


class ApiHandler:
    """One instance is the application for all paths of the API."""

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        try:
            body = await read_body(scope, receive)
            if body is None:
                return
            request = ApiRequest(scope, body)
        except (ApiError, UnicodeDecodeError) as exc:
            await _send_refusal(exc, scope, send)
            return
        structlog.contextvars.bind_contextvars(request_id=request.id)
        span = tracing.begin_request(scope["headers"], str(request.method))
        metrics.http_open.change(+1)
        try:
            await self._answer(request, started, receive, send)
        finally:
            for give_back in request.held:
                give_back()
            metrics.http_open.change(-1)
            _tell(request, started, span)
            request.close()

    async def _answer(
        self,
        request: ApiRequest,
        started: float,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer a request, unless its client leaves."""
        task, gone = asyncio.current_task(), False
        assert task is not None
        watcher: asyncio.Task[None] | None = None

        async def watch() -> None:
            nonlocal gone
            await receive()  # after the body, only http.disconnect can come
            gone = True
            task.cancel()

        def begin() -> None:
            nonlocal watcher
            watcher = asyncio.create_task(watch())

        timer = asyncio.get_running_loop().call_later(UNWATCHED, begin)
        try:
            response = await _respond(request)
            request.status = response.status_code
            await _send(response, request, started, send)
        except asyncio.CancelledError:
            if not gone:
                raise
            task.uncancel()
        finally:
            timer.cancel()
            if watcher is not None:
                watcher.cancel()


def _tell(request: ApiRequest, started: float, span: tracing.Span) -> None:
    """Count a request that has ended. The labels are few, whatever clients send."""
    method = request.method if request.method in METHODS else "other"
    match = request.resolver_match
    route = f"/{match.route}" if match is not None else "other"
    metrics.http_requests.add(method, route, str(request.status))
    metrics.http_seconds.observe(time.perf_counter() - started, route)
    if span:
        span.rename(f"{method} {route}")
        span.end(
            error=str(request.status) if request.status >= 500 else "",
            http__request__method=method,
            http__route=route,
            http__response__status_code=request.status,
            gateway__request_id=request.id,
        )


async def _respond(request: ApiRequest) -> HttpResponseBase:
    """The view's response. Errors that pass by here were not raised by a route."""
    try:
        if "\0" in request.path_info:  # nothing is called so, and PostgreSQL would not look
            raise Http404
        match = _resolve(get_resolver(), request.path_info)
        request.resolver_match = match
        found = match.func(request, *match.args, **match.kwargs)
        # The framework's own views, the API's description and its docs, are plain functions.
        response: HttpResponseBase = await found if isinstance(found, Coroutine) else found
    except ApiError as exc:
        return error_reply(exc)
    except Http404:
        return error_reply(NotFound(_unknown(request.path), code="unknown_url"))
    except SuspiciousOperation:
        return error_reply(InvalidRequest("The request is malformed.", code="bad_request"))
    except Exception:
        log.exception("request failed", request_id=request.id, path=request.path)
        return error_reply(ApiError("An internal error occurred.", code="server_error"))
    if response.status_code == 405:
        return _not_allowed(request, response)
    return response


def _unknown(path: str) -> str:
    """With a word for clients whose base URL lacks its end."""
    hint = " The API is below /v1/: the base URL has to end in /v1."
    return f"Unknown URL: {path}." + ("" if path.startswith("/v1") else hint)


@lru_cache(maxsize=256)
def _resolve(resolver: URLResolver, path: str) -> ResolverMatch:
    """Most requests are for few paths. What is not found is not kept."""
    return resolver.resolve(path)


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


async def _send(
    response: HttpResponseBase, request: ApiRequest, started: float, send: Send
) -> None:
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in response.items()
    ]
    took = round((time.perf_counter() - started) * 1000)
    headers += [
        (b"x-request-id", request.id.encode()),
        (b"openai-version", b"2020-10-01"),  # of the API's conventions; there is no other
        (b"openai-processing-ms", b"%d" % took),
    ]
    if not response.streaming:
        assert isinstance(response, HttpResponse)
        headers.append((b"content-length", b"%d" % len(response.content)))
    head = {"type": "http.response.start", "status": response.status_code, "headers": headers}
    if isinstance(response, EventStream):
        await response.serve(head, send, began=started)
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
