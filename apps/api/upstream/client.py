"""The connection to vLLM: one HTTP client per process, time limits, translation of exceptions.

It reads bytes, the decoder and the normaliser beside it make deltas of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from base64 import b64encode
from functools import lru_cache
from typing import Protocol
from urllib.parse import unquote_to_bytes

import httpx
import orjson

from apps import metrics
from apps.api import tracing
from apps.api.conf import conf
from apps.api.protocol.context import Context
from apps.api.protocol.deltas import Delta
from apps.api.protocol.grammars import Dictation, dictated
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
from apps.api.upstream.transport import Transport

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
def _transport() -> Transport:
    """This process's connections, made at first use in the running loop."""
    return Transport(patience=KEEPALIVE)


async def close_http_client() -> None:
    """Close this process's client, if there is one."""
    if _transport.cache_info().currsize:
        transport = _transport()
        _transport.cache_clear()
        await transport.aclose()


@lru_cache(maxsize=32)
def _target(server: str, key: str, path: str, root: bool) -> tuple[httpx.URL, httpx.Headers]:
    """Where a request goes, and the headers of all that go there; the client's own never get
    there. Of a few paths: reading a URL takes longer than much of the rest. Raises
    httpx.InvalidURL."""
    base = base_url(server)
    url = httpx.URL((base.removesuffix("/v1") if root else base) + path)
    own = {
        "host": url.netloc.decode("ascii"),
        "accept-encoding": "identity",
        "content-type": "application/json",
    }
    if url.userinfo and not key:
        own["authorization"] = f"Basic {b64encode(unquote_to_bytes(url.userinfo)).decode()}"
    if key:
        own["authorization"] = f"Bearer {key}"
    return url, httpx.Headers(own)


def _request(
    method: str, path: str, content: bytes, extra: dict[str, str], *, root: bool
) -> httpx.Request:
    url, own = _target(conf.UPSTREAM_URL, conf.UPSTREAM_API_KEY, path, root)
    extra["content-length"] = str(len(content))
    return httpx.Request(
        method,
        url,
        headers=[*own.raw, *((name.encode(), value.encode()) for name, value in extra.items())],
        stream=httpx.ByteStream(content),  # with which httpx adds no headers of its own
        extensions={"timeout": {"connect": conf.CONNECT_TIMEOUT}},
    )


TRANSPORT_ERRORS = (httpx.HTTPError, httpx.StreamError, TimeoutError)
"""All that the connection may raise, here and nowhere above."""

NOWHERE = (httpx.ConnectTimeout, httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL)


def translate(exc: Exception) -> UpstreamError:
    if isinstance(exc, TimeoutError):
        return UpstreamTimeout("The model server did not answer in time.")
    if isinstance(exc, NOWHERE):
        return UpstreamUnreachable("The model server cannot be reached.")
    return UpstreamBroke("The connection to the model server broke.")


async def send(
    method: str,
    path: str,
    *,
    content: bytes = b"",
    request_id: str = "",
    root: bool = False,
    span: tracing.Span = tracing.NOTHING,
) -> httpx.Response:
    """One request to the upstream; returns when the headers have come, body unread. Paths are
    below ``/v1``, with ``root`` beside it. It is made inside ``span``, else what encloses it.

    Raises UpstreamError when there is no answer; the status is for the caller to judge.
    """
    if not conf.UPSTREAM_URL:
        raise UpstreamUnreachable("No model server is configured (GATEWAY_UPSTREAM_URL).")
    extra = (span or tracing.enclosing()).headers()
    if request_id:
        extra["x-request-id"] = request_id
    began, status = time.perf_counter(), "cancelled"
    try:
        request = _request(method, path, content, extra, root=root)
        answer = await _transport().handle_async_request(request)
        status = str(answer.status_code)
        metrics.upstream_seconds.observe(time.perf_counter() - began, path)
        return answer
    except (*TRANSPORT_ERRORS, httpx.InvalidURL) as exc:
        error = translate(exc)
        status = error.kind
        raise error from exc
    finally:
        metrics.upstream_requests.add(path, status)


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

    @property
    def attempts(self) -> int:
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
        span, limit = tracing.begin_turn(context.model), ReadLimit()
        outcome = "cancelled"
        try:
            with limit.until(first):
                response = await self._post(content, request_id, span)
                if response.status_code != 200:
                    raise await error_of(response)
            outcome = ""
        except TimeoutError as exc:
            outcome = UpstreamTimeout.kind
            raise translate(exc) from exc
        except UpstreamError as exc:
            outcome = exc.kind
            raise
        finally:
            if outcome:
                span.end(outcome)
                limit.close()
        return ChatTurn(response, context, span, limit, first=first, deadline=deadline)

    async def _post(
        self, content: bytes, request_id: str, span: tracing.Span, *, again: bool = True
    ) -> httpx.Response:
        """Ask; once more when nothing was sent, since that cannot run anything twice."""
        self.attempts += 1
        try:
            return await send(
                "POST", "/chat/completions", content=content, request_id=request_id, span=span
            )
        except UpstreamUnreachable as exc:
            if not again or not isinstance(exc.__cause__, httpx.ConnectError):
                raise
        return await self._post(content, request_id, span, again=False)


def _body(context: Context) -> bytes:
    call_ids = CallIds(style_for(context.model, conf.CALL_ID_STYLE))
    return orjson.dumps(to_chat_payload(context, call_ids=call_ids))


class ChatTurn:
    """One answer of chat completions, streamed or whole. ``limit`` is that of its waits."""

    def __init__(
        self,
        response: httpx.Response,
        context: Context,
        span: tracing.Span,
        limit: ReadLimit,
        *,
        first: float,
        deadline: float,
    ) -> None:
        self._span, self._limit = span, limit
        assert isinstance(response.stream, httpx.AsyncByteStream)
        self._body = response.stream  # raw, without the layers that count bytes
        self._pieces = aiter(self._body)
        self._clock = asyncio.get_running_loop().time
        self._next_by = first  # the first token may take minutes, the next ones may not
        self._began, self._last = self._clock(), 0.0
        self._closed = False
        self._deadline, self._idle = deadline, conf.IDLE_TIMEOUT
        self._streamed = context.stream
        self._decoder = SSEDecoder()
        tool = dictated(context.offers)
        self._dictation = Dictation(tool) if tool else None
        self._normalizer = ChatNormalizer(limit=context.max_output_tokens, verbatim=bool(tool))
        self._ended = False
        self._failure: UpstreamError | None = None

    async def read(self) -> list[Delta] | None:
        while not self._ended:
            if self._failure is not None:
                raise self._failure
            piece = await (self._next() if self._streamed else self._whole())
            if deltas := self._decode(piece):
                self._note(len(deltas) - self._ended)
                return self._dictation.feed(deltas) if self._dictation else deltas
        return None

    def _note(self, tokens: int) -> None:
        """Tokens have come: the next ones have some time again."""
        now = self._clock()
        if not self._last:
            self._span.event("first token")
        elif tokens:
            metrics.token_gap_seconds.observe((now - self._last) / tokens, times=tokens)
        self._last, self._next_by = now, min(self._deadline, now + self._idle)

    def interrupt(self) -> None:
        self._failure = UpstreamBroke("The turn was interrupted.")
        self._limit.expire()

    async def close(self) -> None:
        if self._ended and self._streamed:
            await self._read_out()
        self._limit.close()
        with contextlib.suppress(*TRANSPORT_ERRORS):  # broken is as closed as it gets
            await self._body.aclose()
        if not self._closed:
            self._closed = True
            metrics.turns.add(self._outcome)
            self._span.end("" if self._outcome == "completed" else self._outcome)
            metrics.turn_seconds.observe(self._clock() - self._began)

    @property
    def _outcome(self) -> str:
        if self._failure is not None:
            return "failed"
        return "completed" if self._ended else "abandoned"

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
