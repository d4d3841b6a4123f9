"""The API as django-ninja knows it: routers, authentication, errors in the API's own form."""

from __future__ import annotations

from typing import Any

import orjson
import structlog
from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError, ValidationErrorContext
from ninja.parser import Parser

from apps.api.auth import ApiKeyAuth
from apps.api.errors import ApiError, InvalidRequest, Unauthenticated, let_go
from apps.api.protocol.params import first_problem
from apps.api.replies import error_reply
from apps.api.routes import (
    containers,
    files,
    mcp,
    models,
    passthrough,
    responses,
    signed,
    unoffered,
)
from apps.nesting import is_deeper

log = structlog.stdlib.get_logger(__name__)


class JsonParser(Parser):
    """Request bodies are JSON and say so."""

    def parse_body(self, request: HttpRequest) -> Any:
        media_type = request.content_type or ""
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise InvalidRequest(
                f"The media type is {media_type or 'missing'!r}, not application/json.",
                code="unsupported_media_type",
                status=415,
            )
        try:
            body = orjson.loads(request.body)
        except orjson.JSONDecodeError as exc:
            raise InvalidRequest(
                f"The request body is not JSON: {exc}.", code="invalid_json"
            ) from exc
        # Else it would fail where it is written again, and nobody could tell why.
        if len(request.body) > 2 * MOST_LEVELS and is_deeper(body, MOST_LEVELS):
            raise InvalidRequest(
                f"The request body is nested more than {MOST_LEVELS} levels deep.",
                code="invalid_value",
            )
        return body


MOST_LEVELS = 200
"""Levels of a body, each of which takes two bytes at least. What is made of it has a few more."""

UNUSED = HttpResponse()


class Api(NinjaAPI):
    """Its views answer with responses of their own making."""

    def create_temporal_response(self, request: HttpRequest) -> HttpResponse:
        """The framework makes one for each request, for views that would change it."""
        return UNUSED

    def validation_error_from_error_contexts(
        self, error_contexts: list[ValidationErrorContext[Any]]
    ) -> ValidationError:
        made = super().validation_error_from_error_contexts(error_contexts)
        for context in error_contexts:
            let_go(context.pydantic_validation_error)
        return made

    def on_exception(self, request: HttpRequest, exc: Any) -> HttpResponse:
        """``exc`` is an exception, and nobody's once it is answered."""
        try:
            return super().on_exception(request, exc)
        finally:
            let_go(exc)


api = Api(
    title="Responses Gateway",
    description="The OpenAI Responses API in front of vLLM.",
    version="1",
    urls_namespace="api",
    auth=ApiKeyAuth(),
    parser=JsonParser(),
    openapi_url="/openapi.json",
    docs_url="/docs",
)
api.add_router("", unoffered.router)  # first: a path is not the id of a response
api.add_router("", responses.router)
api.add_router("", models.router)
api.add_router("", files.router)
api.add_router("", containers.router)
api.add_router("", signed.router)
api.add_router("", mcp.router)
api.add_router("", passthrough.router)


@api.exception_handler(ApiError)
def on_api_error(request: HttpRequest, exc: ApiError) -> HttpResponse:
    return error_reply(exc)


@api.exception_handler(ValidationError)
def on_validation_error(request: HttpRequest, exc: ValidationError) -> HttpResponse:
    """The framework puts steps of its own before the client's parameter: one in a query, two in a
    body."""
    in_body = exc.errors[0]["loc"][0] == "body"
    problem = first_problem(exc.errors, skip=2 if in_body else 1)
    message = problem.message if problem.param else "The request body is missing or no object."
    return error_reply(InvalidRequest(message, code=problem.code, param=problem.param))


@api.exception_handler(HttpError)
def on_http_error(request: HttpRequest, exc: HttpError) -> HttpResponse:
    """The framework wraps what its parser raised."""
    if isinstance(exc.__cause__, ApiError):
        return error_reply(exc.__cause__)
    return error_reply(InvalidRequest(str(exc), code=None, status=exc.status_code))


@api.exception_handler(AuthenticationError)
def on_authentication_error(request: HttpRequest, exc: AuthenticationError) -> HttpResponse:
    return error_reply(Unauthenticated("No API key provided."))


@api.exception_handler(Exception)
def on_bug(request: HttpRequest, exc: Exception) -> HttpResponse:
    log.error("request failed", path=request.path, exc_info=exc)
    return error_reply(ApiError("An internal error occurred.", code="server_error"))
