"""What went wrong with HTTP: in our own words, since those of libraries quote headers, secrets too,
and as the answer to one request."""

from __future__ import annotations

from typing import Any

import httpx2
from mcp.client.auth import OAuthFlowError

from apps.tools.mcp.transports import Unread
from apps.tools.urlguard import Refused

AWAY, NOT_SENT, BROKE = 31001, 31002, 31003
"""Codes of the errors that stand for answers: nobody is there, the server has not had the request, or
it may have had it. Servers' codes are negative."""


class FailsAlone(httpx2.AsyncClient):
    """Answers a POST whose answer does not come with an error of MCP. ``mcp`` sends several requests
    at a time, and ends all of them, and the session, for whatever one of them raises."""

    async def send(self, request: httpx2.Request, **kwargs: Any) -> httpx2.Response:
        try:
            return await super().send(request, **kwargs)
        except (httpx2.TransportError, httpx2.StreamError, OAuthFlowError, OSError) as exc:
            if request.method != "POST":
                raise
            error = {"code": _code(exc), "message": explained(exc)}
            answer = {"jsonrpc": "2.0", "id": None, "error": error}
            return httpx2.Response(502, json=answer, request=request)


def _code(exc: Exception) -> int:
    match exc:
        case httpx2.ConnectError() | httpx2.ConnectTimeout() | OSError():
            return AWAY
        case httpx2.PoolTimeout() | httpx2.LocalProtocolError() | OAuthFlowError():
            return NOT_SENT
        case _:
            return BROKE


def explained(exc: Exception) -> str:
    """For people and models."""
    match exc:
        case Unread() | Refused():
            return str(exc)
        case OAuthFlowError():
            return "Getting a token with the OAuth client credentials failed."
        case httpx2.ConnectTimeout() | httpx2.PoolTimeout():
            return "The server could not be connected to in time."
        case httpx2.TimeoutException():
            return "The server did not answer in time."
        case httpx2.ConnectError() if "certificate" in str(exc).lower():
            return "The server's TLS certificate is not trusted."
        case FileNotFoundError():
            return "The server's command was not found."
        case httpx2.ConnectError() | OSError():
            return "The server cannot be reached."
        case _:
            return "The connection to the server failed."
