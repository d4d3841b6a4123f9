"""Translates what goes wrong below into errors that clients see. Once, here.

What cannot be mended by repeating becomes a 4xx: clients repeat a 5xx many times.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from apps.api.errors import ApiError, InvalidRequest, NotFound, Unavailable
from apps.api.upstream.errors import (
    NO_TOOL_PARSER,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from apps.api.upstream.refusal import GENERIC
from apps.store.errors import StoreUnavailable

UPSTREAM_NAMES = {
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
}
"""Chat completions' names of parameters, and what the client knows them as."""


class database_needed:  # noqa: N801 - used as contextlib's own are, which are classes too
    """``with database_needed():`` raises Unavailable where the database is away."""

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if isinstance(exc, StoreUnavailable):
            raise Unavailable("The database cannot be reached.") from exc


def from_upstream(error: UpstreamError, *, names: Mapping[str, str] = UPSTREAM_NAMES) -> ApiError:
    """The error for the client, whether it becomes an HTTP status or response.failed. ``names``
    are empty for clients that speak the upstream's dialect themselves."""
    message = str(error)
    if isinstance(error, UpstreamRefused):
        return _refused(error, names)
    if isinstance(error, UpstreamUnreachable):
        return ApiError(message, status=503, code="upstream_unavailable", retry_after=5)
    if isinstance(error, UpstreamTimeout):
        return ApiError(message, status=504, code="upstream_timeout")
    return ApiError(message, status=502, code="server_error")


def _refused(error: UpstreamRefused, names: Mapping[str, str]) -> ApiError:
    message, status = str(error), error.status or 500
    param = _param(error.param or "", names)
    if error.is_context_overflow:
        param = names.get("messages", "messages")
        return InvalidRequest(message, code="context_length_exceeded", param=param)
    if status == 404 and message == GENERIC:  # a model that is not there is named
        return NotFound("The model server does not have this endpoint.", code="unknown_url")
    if status == 404:
        return NotFound(message, code="model_not_found", param="model")
    if status < 300:
        return ApiError("The model server sent no answer.", status=502, code="server_error")
    if status < 400:
        return NotFound(
            "The model server redirects elsewhere; GATEWAY_UPSTREAM_URL has to name the place "
            "itself.",
            code="upstream_redirected",
        )
    if status in (401, 403):
        return InvalidRequest(
            "The model server refused the gateway's credentials (GATEWAY_UPSTREAM_API_KEY).",
            code="upstream_unauthorized",
            status=403,
        )
    if status == 429:
        return ApiError(
            message,
            status=429,
            type="requests",
            code="rate_limit_exceeded",
            retry_after=error.retry_after or 1,
        )
    if error.lacks_tool_parser:
        return InvalidRequest(NO_TOOL_PARSER, code="unsupported_by_upstream", param="tools")
    if status < 500:
        return InvalidRequest(
            message, code="invalid_value" if param else "invalid_prompt", param=param
        )
    if status == 503:
        return ApiError(
            message, status=503, code="upstream_unavailable", retry_after=error.retry_after or 1
        )
    return ApiError("The model server failed.", status=502, code="server_error")


def _param(path: str, names: Mapping[str, str]) -> str | None:
    """The client's name of a parameter. Of a path into the body, which is the gateway's own, only
    the first step means something to the client."""
    name = path.removeprefix("body.").partition(".")[0]
    return names.get(name, name if name.isidentifier() else None)
