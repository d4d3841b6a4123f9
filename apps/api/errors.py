"""Errors that clients see, each one error envelope.

ApiError
├── InvalidRequest          400, with param and code
├── Unauthenticated         401
├── NotFound                404
├── Unavailable             503, with Retry-After
└── whatever ``from_upstream`` makes of an UpstreamError

No HttpResponse here: edges turn an error into whatever their transport needs.
"""

from __future__ import annotations

from typing import Any

from apps.api.protocol.events import ErrorDetail


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
        super().__init__(message)
        self.message, self.status, self.retry_after = message, status, retry_after
        self.type, self.code, self.param = type, code, param

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


class Unavailable(ApiError):
    """Something that the request needs is away for a while."""

    def __init__(
        self, message: str, *, code: str = "service_unavailable", retry_after: float = 5
    ) -> None:
        super().__init__(message, status=503, code=code, retry_after=retry_after)
