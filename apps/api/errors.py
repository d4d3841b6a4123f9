"""Errors that clients see, each one error envelope.

ApiError
├── InvalidRequest          400, with param and code
├── Unauthenticated         401
├── NotFound                404
├── TooMany                 429, with Retry-After
├── Unavailable             503, with Retry-After
└── whatever ``from_upstream`` makes of an UpstreamError

No HttpResponse here: edges turn an error into whatever their transport needs.
"""

from __future__ import annotations

from typing import Any

from apps.api.protocol.events import ErrorDetail

LONGEST = 1000
"""Characters of a message, or of a parameter's path."""


class ApiError(Exception):
    """An error with its HTTP status and the four members of the envelope."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 500,
        type: str = "server_error",  # noqa: A002 - the envelope's word
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        message = _short(message)
        super().__init__(message)
        self.message, self.status, self.retry_after = message, status, retry_after
        self.type, self.code, self.param = type, code, param and _short(param)
        self.repeatable = True
        """Whether clients may send the request again by themselves."""

    @property
    def envelope(self) -> dict[str, Any]:
        """The body of the HTTP answer."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }

    @property
    def headers(self) -> dict[str, str]:
        if not self.repeatable:
            return {"X-Should-Retry": "false"}  # the official clients obey it
        if self.retry_after is None:
            return {}
        return {"Retry-After": str(max(1, round(self.retry_after)))}

    @property
    def detail(self) -> ErrorDetail:
        """The same for an event."""
        return ErrorDetail(
            type=self.type,
            code=self.code or "server_error",
            message=self.message,
            param=self.param,
        )


def _short(text: str) -> str:
    """What clients send is quoted to them, but not by the megabyte."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


class InvalidRequest(ApiError):
    """The request cannot be served as it is; sending it again will not help."""

    def __init__(
        self, message: str, *, code: str | None, param: str | None = None, status: int = 400
    ) -> None:
        super().__init__(
            message, status=status, type="invalid_request_error", code=code, param=param
        )


class Unauthenticated(InvalidRequest):
    """No key, or not a valid one."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="invalid_api_key", status=401)


class NotFound(InvalidRequest):
    """There is no such thing, or it belongs to somebody else."""

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message, code=code, param=param, status=404)


class TooMany(ApiError):
    """The client has as much as it may have at once."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(
            message,
            status=429,
            type="requests",
            code="rate_limit_exceeded",
            retry_after=retry_after,
        )


class Unavailable(ApiError):
    """Something that the request needs is away for a while."""

    def __init__(
        self, message: str, *, code: str = "service_unavailable", retry_after: float = 5
    ) -> None:
        super().__init__(message, status=503, code=code, retry_after=retry_after)


def let_go(exc: BaseException) -> None:
    """Forget where an answered error came from. Futures and groups on that way hold the error itself,
    and so the request, which may be large, until the garbage collector comes."""
    left: list[BaseException | None] = [exc]
    seen: set[BaseException | None] = {None}
    while left:
        if (each := left.pop()) in seen:
            continue
        seen.add(each)
        assert each is not None
        each.__traceback__ = None
        left += [each.__cause__, each.__context__]
        left += each.exceptions if isinstance(each, BaseExceptionGroup) else ()
