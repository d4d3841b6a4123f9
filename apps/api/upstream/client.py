"""The connection to vLLM: one HTTP client per process, time limits, translation of exceptions.

It reads bytes, the decoder and the normaliser beside it make deltas of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Protocol

import aiohttp
import httpx
import orjson
from httpx_aiohttp import AiohttpTransport

from apps.api.conf import conf
from apps.api.protocol.context import Context
from apps.api.protocol.deltas import Delta
from apps.api.upstream.call_ids import CallIds, style_for
from apps.api.upstream.chat import ChatNormalizer
from apps.api.upstream.errors import (
    UpstreamBroke,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from apps.api.upstream.payload import to_chat_payload
from apps.api.upstream.read_limit import ReadLimit
from apps.api.upstream.refusal import refused
from apps.api.upstream.sse import SSEDecoder

KEEPALIVE = 4.0
"""Seconds for which an idle connection is used again: vLLM closes it after 5."""

END_OF_BODY = 0.2
"""Seconds that the end of a body may take after the last event."""

LARGEST_ERROR = 64 * 1024


def base_url(url: str) -> str:
    """The upstream's URL ending in ``/v1``, whether or not the operator wrote it."""
    url = url.rstrip("/")
    return url if url.endswith("/v1") else f"{url}/v1"


@lru_cache(maxsize=1)
def http_client() -> httpx.AsyncClient:
    """This process's client, made at first use in the running loop.

    httpx on aiohttp's connections: the stock pool walks all of them for each request. Unlimited,
    without cookies, redirects and proxies from the environment.
    """
    timeout = httpx.Timeout(connect=conf.CONNECT_TIMEOUT, read=None, write=60, pool=None)
    return httpx.AsyncClient(
        transport=AiohttpTransport(client=_session, trust_env=False),
        timeout=timeout,
        trust_env=False,
        follow_redirects=False,
    )


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
    )


async def close_http_client() -> None:
    """Close this process's client, if there is one."""
    if http_client.cache_info().currsize:
        client = http_client()
        http_client.cache_clear()
        await client.aclose()


def headers(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The headers of every request to the upstream; the client's own never get there."""
    own = {"accept-encoding": "identity", "content-type": "application/json"}
    if conf.UPSTREAM_API_KEY:
        own["authorization"] = f"Bearer {conf.UPSTREAM_API_KEY}"
    return own | dict(extra or {})


TRANSPORT_ERRORS = (httpx.HTTPError, httpx.StreamError, aiohttp.ClientError, OSError)
"""All that the connection may raise, here and nowhere above; httpx-aiohttp lets some of aiohttp's
own exceptions through."""

NOWHERE = (httpx.ConnectTimeout, httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL)


def translate(exc: Exception) -> UpstreamError:
    """The transport's exceptions do not say which is which: its cause does."""
    if isinstance(exc, httpx.ReadTimeout | TimeoutError):
        return UpstreamTimeout("The model server did not answer in time.")
    if isinstance(exc, NOWHERE):
        return UpstreamUnreachable("The model server cannot be reached.")
    return UpstreamBroke("The connection to the model server broke.")


def _never_connected(exc: BaseException | None) -> bool:
    """Nothing was sent: asking once more cannot run anything twice."""
    cause = exc.__cause__ if exc is not None else None
    return isinstance(cause, aiohttp.ClientConnectorError)


async def send(
    method: str,
    path: str,
    *,
    content: bytes | None = None,
    request_id: str = "",
    root: bool = False,
) -> httpx.Response:
    """One request to the upstream; returns when the headers have come, body unread. Paths are
    below ``/v1``, with ``root`` beside it.

    Raises UpstreamError when there is no answer; the status is for the caller to judge.
    """
    if not conf.UPSTREAM_URL:
        raise UpstreamUnreachable("No model server is configured (GATEWAY_UPSTREAM_URL).")
    base = base_url(conf.UPSTREAM_URL)
    url = (base.removesuffix("/v1") if root else base) + path
    client = http_client()
    extra = {"x-request-id": request_id} if request_id else None
    try:
        request = client.build_request(method, url, content=content, headers=headers(extra))
        return await client.send(request, stream=True)
    except (*TRANSPORT_ERRORS, httpx.InvalidURL) as exc:
        raise translate(exc) from exc


async def error_of(response: httpx.Response) -> UpstreamRefused:
    """Read an answer with an error status; closes it."""
    body = b""
    try:
        async for piece in response.aiter_raw():
            body += piece
            if len(body) > LARGEST_ERROR:
                break
        parsed = orjson.loads(body)
    except (*TRANSPORT_ERRORS, orjson.JSONDecodeError):
        parsed = None
    finally:
        await response.aclose()
    return refused(response.status_code, parsed, retry_after=response.headers.get("retry-after"))


# --- Turns ----------------------------------------------------------------------------------------


class Turn(Protocol):
    """One generation under way."""

    async def read(self) -> list[Delta] | None:
        """The deltas of what has come meanwhile; None after the last. Raises UpstreamError."""

    def interrupt(self) -> None:
        """Make the present or next ``read`` raise UpstreamError at once."""

    async def close(self) -> None:
        """End it, which stops the upstream when it is still generating."""


class Upstream(Protocol):
    """Starts the turns of one run. Its twin in tests gives deltas without a network."""

    attempts: int
    """How often the upstream was asked so far."""

    async def open(self, context: Context, *, request_id: str, deadline: float) -> Turn:
        """Ask for one turn, which must end by ``deadline`` (on the loop's clock). Returns when
        the upstream has accepted it; raises UpstreamError."""


class ChatUpstream:
    """vLLM's chat completions."""

    def __init__(self) -> None:
        self.attempts = 0

    async def open(self, context: Context, *, request_id: str, deadline: float) -> Turn:
        # Megabytes of images are not encoded where everybody's tokens pass.
        content = await asyncio.to_thread(_body, context) if context.media else _body(context)
        first = min(deadline, asyncio.get_running_loop().time() + conf.FIRST_BYTE_TIMEOUT)
        try:
            async with asyncio.timeout_at(first):
                response = await self._post(content, request_id)
                if response.status_code != 200:
                    raise await error_of(response)
        except TimeoutError as exc:
            raise translate(exc) from exc
        return ChatTurn(response, context, first=first, deadline=deadline)

    async def _post(self, content: bytes, request_id: str) -> httpx.Response:
        """Ask; once more when nothing was sent, since that cannot run anything twice."""
        self.attempts += 1
        try:
            return await send("POST", "/chat/completions", content=content, request_id=request_id)
        except UpstreamUnreachable as exc:
            if self.attempts > 1 or not _never_connected(exc.__cause__):
                raise
        return await self._post(content, request_id)


def _body(context: Context) -> bytes:
    call_ids = CallIds(style_for(context.model, conf.CALL_ID_STYLE))
    return orjson.dumps(to_chat_payload(context, call_ids=call_ids))


class ChatTurn:
    """One answer of chat completions, streamed or whole."""

    def __init__(
        self, response: httpx.Response, context: Context, *, first: float, deadline: float
    ) -> None:
        self._response = response
        self._pieces = response.aiter_raw()
        self._clock = asyncio.get_running_loop().time
        self._next_by = first  # the first token may take minutes, the next ones may not
        self._deadline, self._idle = deadline, conf.IDLE_TIMEOUT
        self._streamed = context.stream
        self._limit = ReadLimit()
        self._decoder = SSEDecoder()
        self._normalizer = ChatNormalizer(limit=context.max_output_tokens)
        self._ended = False
        self._failure: UpstreamError | None = None

    async def read(self) -> list[Delta] | None:
        while not self._ended:
            if self._failure is not None:
                raise self._failure
            piece = await (self._next() if self._streamed else self._whole())
            if deltas := self._decode(piece):
                self._next_by = min(self._deadline, self._clock() + self._idle)
                return deltas
        return None

    def interrupt(self) -> None:
        self._failure = UpstreamBroke("The turn was interrupted.")
        self._limit.expire()

    async def close(self) -> None:
        if self._ended:
            await self._read_out()
        self._limit.close()
        with contextlib.suppress(*TRANSPORT_ERRORS):  # broken is as closed as it gets
            await self._response.aclose()

    async def _read_out(self) -> None:
        """A body that was read to its end leaves its connection for the next turn. The end comes
        right after the last event, though not always in the same read."""
        with contextlib.suppress(*TRANSPORT_ERRORS), self._limit.until(self._clock() + END_OF_BODY):
            while await anext(self._pieces, None) is not None:
                pass

    async def _next(self) -> bytes | None:
        """What has come since the last read; None at the end of the body."""
        try:
            with self._limit.until(self._next_by):
                return await anext(self._pieces, None)
        except TRANSPORT_ERRORS as exc:
            raise self._failure or translate(exc) from exc

    async def _whole(self) -> bytes:
        body = bytearray()
        while (piece := await self._next()) is not None:
            body += piece
        return bytes(body)

    def _decode(self, piece: bytes | None) -> list[Delta]:
        """What came before an error in the same read is delivered before the error."""
        deltas: list[Delta] = []
        try:
            if not self._streamed:
                deltas += self._normalizer.feed_completion(orjson.loads(piece or b""))
                self._ended = True
            else:
                self._ended = piece is None
                for data in self._decoder.feed(piece or b""):
                    if data == b"[DONE]":
                        self._ended = True
                        break
                    deltas += self._normalizer.feed(orjson.loads(data))
            if self._ended:
                deltas.append(self._normalizer.finish())
        except UpstreamError as exc:
            self._failure = exc
        except ValueError as exc:
            self._failure = UpstreamBroke("The model server sent something unreadable.")
            self._failure.__cause__ = exc
        if self._failure is not None:
            self._ended = False  # the next read raises
        return deltas
