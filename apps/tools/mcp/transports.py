"""Reaches an MCP server over HTTP: guarded at the moment of connecting, bounded in size."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any

import httpcore2
import httpx2
from mcp.client.auth import TokenStorage
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from mcp.shared.inbound import MCP_METHOD_HEADER

from apps.store.mcp_servers import ServerSpec
from apps.store.models.mcp_server import SSE
from apps.tools.mcp.addresses import operator_guard
from apps.tools.mcp.headers import check
from apps.tools.mcp.oauth import ClientCredentials
from apps.tools.urlguard import URLGuard

MOST_BYTES = 32 * 1024 * 1024
"""Of one HTTP response; a stream may have as many as it likes."""
SILENCE = 300.0
"""Seconds that a stream of the server may say nothing, but for calls that may take longer."""
LEEWAY = 5.0
"""Seconds beyond those that the caller waits: it is the first to lose its patience."""
SUBSCRIBING = "subscriptions/listen"
STREAM = "text/event-stream"
TOO_MUCH = "The answer is too large."


@lru_cache(maxsize=1)
def _ssl_context() -> ssl.SSLContext:
    """Reading the system's certificates takes longer than connecting."""
    return httpx2.create_ssl_context()


class Unread(httpx2.StreamError):
    """A response is not read, or no further. An error of its stream ``mcp`` takes for a failure of
    one request; what else a connection may raise it takes for the end of the session."""


class TooMuch(Unread):
    """A response has more bytes than anybody needs."""

    def __init__(self) -> None:
        super().__init__(TOO_MUCH)


class _GuardedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to the very addresses that the guard has judged."""

    def __init__(self, guard: URLGuard) -> None:
        self._guard, self._real = guard, httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        failure: Exception | None = None
        for address in await self._guard.addresses(host, port):
            try:
                return await self._real.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except httpcore2.ConnectError as exc:
                failure = exc
        assert failure is not None
        raise failure

    async def sleep(self, seconds: float) -> None:
        await self._real.sleep(seconds)


class GuardedTransport(httpx2.AsyncHTTPTransport):
    """As httpx2 has it, but for where it connects to and how much it reads. What is posted has its
    answer within ``patience`` seconds or nobody waits for it any more, but for subscriptions.
    ``on_gap`` is called whenever a stream that was got begins or ends."""

    def __init__(self, guard: URLGuard, *, patience: float, on_gap: Callable[[], None]) -> None:
        self._patience, self._on_gap = patience, on_gap
        super().__init__(verify=_ssl_context())
        # httpx2 has no parameter for the backend of its pool.
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=_ssl_context(),
            max_connections=100,
            keepalive_expiry=30.0,
            network_backend=_GuardedBackend(guard),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        # What is packed has a size that nobody knows before it is unpacked.
        request.headers["accept-encoding"] = "identity"
        if request.method == "POST" and request.headers.get(MCP_METHOD_HEADER) != SUBSCRIBING:
            limits = request.extensions.get("timeout", {})  # those of OAuth come with none
            request.extensions["timeout"] = {**limits, "read": self._patience}
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        if response.headers.pop("content-encoding", "identity").lower() != "identity":
            response.stream = _Packed(response.stream)
        elif not response.headers.get("content-type", "").startswith(STREAM):
            response.stream = _Bounded(response.stream)
        elif request.method == "GET":
            response.stream = _Told(response.stream, self._on_gap)
        return response


class _Packed(httpx2.AsyncByteStream):
    """A body that nobody asked for, and nobody reads."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        raise Unread("The answer is compressed.")

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Bounded(httpx2.AsyncByteStream):
    """A body of so many bytes at most, which may break off."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            async for chunk in self._stream:
                size += len(chunk)
                if size > MOST_BYTES:
                    raise TooMuch
                yield chunk
        except httpx2.TransportError as exc:
            raise Unread("The answer broke off.") from exc

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Told(httpx2.AsyncByteStream):
    """A stream whose beginning and end are told."""

    def __init__(self, stream: httpx2.AsyncByteStream, on_gap: Callable[[], None]) -> None:
        self._stream, self._on_gap = stream, on_gap

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._on_gap()
        try:
            async for chunk in self._stream:
                yield chunk
        finally:
            self._on_gap()

    async def aclose(self) -> None:
        await self._stream.aclose()


class _Memory(TokenStorage):
    """Tokens live as long as their session."""

    def __init__(self) -> None:
        self._tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """There is none but the configured one."""


def http_client(
    spec: ServerSpec,
    guard: URLGuard,
    kind: type[httpx2.AsyncClient] = httpx2.AsyncClient,
    on_gap: Callable[[], None] = lambda: None,
) -> httpx2.AsyncClient:
    """A client with the server's credentials, for its origin alone. Environment variables of
    proxies are not heeded: a proxy would connect to what the guard has not seen. ``on_gap`` is
    called when a stream of the server's own words ends, for ``mcp`` gets another one and says nothing,
    and when one begins: what the server would have said before is lost.
    Raises HeaderUnusable."""
    headers = dict(spec.headers)
    check(headers)
    if spec.bearer_token:
        check({"Authorization": spec.bearer_token})
        headers["Authorization"] = f"Bearer {spec.bearer_token}"
    patience = max(spec.call_timeout, spec.connect_timeout) + LEEWAY
    return kind(
        headers=headers,
        auth=_oauth(spec),
        transport=GuardedTransport(guard, patience=patience, on_gap=on_gap),
        timeout=httpx2.Timeout(spec.connect_timeout, read=max(SILENCE, patience)),
        trust_env=False,
    )


def _oauth(spec: ServerSpec) -> httpx2.Auth | None:
    if not spec.oauth_client_id:
        return None
    return ClientCredentials(
        server_url=spec.url,
        storage=_Memory(),
        client_id=spec.oauth_client_id,
        client_secret=spec.oauth_client_secret,
        scope=spec.oauth_scope or None,
        issuer=spec.oauth_issuer,
    )


@asynccontextmanager
async def http_transport(spec: ServerSpec, client: httpx2.AsyncClient) -> AsyncIterator[Any]:
    """The streams of a connection, as ``mcp.Client`` takes them. Closes the client."""
    if spec.transport == SSE:

        def given(headers: Any = None, timeout: Any = None, auth: Any = None) -> httpx2.AsyncClient:
            return client

        async with sse_client(spec.url, httpx_client_factory=given) as streams:
            yield streams
        return
    async with (
        client,
        streamable_http_client(
            spec.url, http_client=client, max_sse_event_size=MOST_BYTES
        ) as streams,
    ):
        yield streams


def operator_client(spec: ServerSpec) -> httpx2.AsyncClient:
    """For a server that an operator entered: it may be private."""
    return http_client(spec, operator_guard())
