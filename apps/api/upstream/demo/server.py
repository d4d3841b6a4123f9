"""The demo upstream over HTTP: routes, streaming at a readable pace, and broken connections.

Only transport; what is said comes from rules.py, its bytes from wire.py and extras.py.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, NoReturn

from aiohttp import web

from . import extras, wire
from .generation import Generation, generate
from .request import ChatRequest, Json, RefusedError, read_chat, read_json
from .rules import Reply, respond
from .schema import SchemaError

_MAX_BODY: Final = 256 * 1024 * 1024
_STREAM: Final = "text/event-stream; charset=utf-8"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoServer:
    """The routes; `token_delay` in seconds, `context` in tokens."""

    token_delay: float = 0.0
    context: int = 32_768
    started: int = field(default_factory=lambda: int(time.time()))

    def application(self) -> web.Application:
        app = web.Application(middlewares=[_errors], client_max_size=_MAX_BODY)
        app.add_routes(
            [
                web.get("/health", self.health),
                web.get("/version", self.version),
                web.get("/v1/models", self.models),
                web.post("/v1/chat/completions", self.chat),
                web.post("/v1/completions", self.completions),
                web.post("/v1/embeddings", self.embeddings),
                web.post("/tokenize", self.tokenize),
            ]
        )
        return app

    async def health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def version(self, request: web.Request) -> web.Response:
        return _json({"version": wire.VERSION})

    async def models(self, request: web.Request) -> web.Response:
        return _json(extras.models_body(self.started, self.context))

    async def embeddings(self, request: web.Request) -> web.Response:
        return _json(extras.embeddings_body(_identity(request), await _body(request)))

    async def tokenize(self, request: web.Request) -> web.Response:
        return _json(extras.tokenize_body(await _body(request), self.context))

    async def completions(self, request: web.Request) -> web.StreamResponse:
        asked = extras.read_completion(await _body(request))
        identity = extras.completion_identity(_identity(request))
        reply, generation = self._generate(asked)
        prompt = asked.prompt_tokens()
        if not asked.stream:
            await self._take_time(request, reply, generation)
            return _json(extras.completion_body(identity, generation, prompt))
        frames = extras.completion_frames(
            identity, generation, prompt, include_usage=asked.include_usage
        )
        return await self._stream(request, reply, generation, frames)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        asked = read_chat(await _body(request))
        try:
            reply, generation = self._generate(asked)
        except SchemaError as error:
            if not asked.stream:
                raise
            async with _streaming(request) as response:
                await response.write(wire.error_frame(error) + wire.DONE)
            return response
        identity, prompt = _identity(request), asked.prompt_tokens()
        if asked.stream:
            stream = wire.ChatStream(
                identity=identity,
                generation=generation,
                prompt=prompt,
                include_usage=asked.include_usage,
                continuous_usage=asked.continuous_usage,
                include_reasoning=asked.include_reasoning,
            )
            return await self._stream(request, reply, generation, stream.frames())
        await self._take_time(request, reply, generation)
        body = wire.chat_body(
            identity,
            generation,
            prompt=prompt,
            include_reasoning=asked.include_reasoning,
            forced=asked.tool_choice in ("required", "named"),
        )
        return _json(body)

    def _generate(self, asked: ChatRequest) -> tuple[Reply, Generation]:
        limit = asked.allowance(self.context)
        reply = respond(asked)
        stop, include_stop = asked.stop, asked.include_stop
        return reply, generate(reply, limit=limit, stop=stop, include_stop=include_stop)

    async def _take_time(self, request: web.Request, reply: Reply, generation: Generation) -> None:
        """Without a stream an answer takes as long as with one."""
        tokens = len(generation.pieces) // (2 if reply.broken else 1)
        await asyncio.sleep(reply.wait + self.token_delay * tokens)
        if reply.broken:
            _cut(request)

    async def _stream(
        self,
        request: web.Request,
        reply: Reply,
        generation: Generation,
        frames: Iterator[bytes],
    ) -> web.StreamResponse:
        """One frame a token; empty ones take their time as well."""
        async with _streaming(request) as response:
            await asyncio.sleep(reply.wait)
            for number, frame in enumerate(frames):
                if reply.broken and number > len(generation.pieces) // 2:
                    _cut(request)
                if frame:
                    await response.write(frame)
                await asyncio.sleep(self.token_delay)
        return response


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RefusedError as error:
        return _json(error.body(), error.status)
    except web.HTTPException as error:
        return _json({"detail": error.reason}, error.status)
    except ConnectionResetError:
        return _unsent(web.Response())


@asynccontextmanager
async def _streaming(request: web.Request) -> AsyncIterator[web.StreamResponse]:
    """An open event stream; a client that goes away ends it without a word."""
    response = web.StreamResponse(headers={"Content-Type": _STREAM})
    try:
        await response.prepare(request)
        yield response
    except ConnectionResetError:
        _unsent(response)


def _unsent(response: web.StreamResponse) -> web.StreamResponse:
    """Nobody is left to be told, and aiohttp is not to wait for another request."""
    response.force_close()
    return response


def _cut(request: web.Request) -> NoReturn:
    if request.transport is not None:
        request.transport.close()
    raise ConnectionResetError("cut on request")


def _identity(request: web.Request) -> wire.Identity:
    asked_for = request.headers.get("X-Request-Id")
    return wire.Identity(id=f"chatcmpl-{asked_for}") if asked_for else wire.Identity()


async def _body(request: web.Request) -> Json:
    return read_json(await request.read(), request.content_type)


def _json(body: Json, status: int = 200) -> web.Response:
    return web.Response(body=wire.encode(body), status=status, content_type="application/json")
