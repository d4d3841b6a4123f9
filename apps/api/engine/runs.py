"""Hosting: prepares a run, starts it, and takes care of what happens around it.

A run is iterated by its edge: as a stream of events, or collected to one JSON body. A client that
leaves cancels it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from datetime import UTC, datetime

from apps.api.conf import conf
from apps.api.engine.failures import from_upstream
from apps.api.engine.hydrate import Hydrated, hydrate
from apps.api.engine.loop import failure, respond
from apps.api.engine.process import process
from apps.api.engine.recorder import Recorder
from apps.api.engine.sealing import Sealer
from apps.api.engine.truncation import TruncatingUpstream
from apps.api.engine.turn import Opening
from apps.api.errors import InvalidRequest, Unavailable
from apps.api.protocol.composer import ResponseComposer
from apps.api.protocol.context import Context
from apps.api.protocol.events import Event
from apps.api.protocol.ids import new_id
from apps.api.protocol.media import Media, references
from apps.api.protocol.media_types import TEXT
from apps.api.protocol.requests import INCLUDE_ENCRYPTED, INCLUDE_LOGPROBS, CreateResponse
from apps.api.protocol.response import Response, new_response
from apps.api.upstream.client import ChatUpstream, Upstream
from apps.api.upstream.errors import UpstreamError, UpstreamRefused
from apps.api.upstream.models import model_names
from apps.api.upstream.tokens import count_tokens
from apps.store.errors import StoreUnavailable
from apps.store.keys import Principal
from apps.store.snapshots import RunSnapshot, StoredMedia


class Run:
    """The activity that carries one response to its end."""

    def __init__(self, *, opening: Opening, composer: ResponseComposer, recorder: Recorder) -> None:
        self._opening, self._composer, self._recorder = opening, composer, recorder

    @property
    def ignored_tools(self) -> str:
        """The declared hosted tools that are not offered here, to be told to the client."""
        return self._recorder.run.ignored_tools

    async def start(self, *, window: float | None) -> None:
        """Wait for the upstream's verdict (decision of the HTTP status), no longer than
        ``window`` seconds. Raises ApiError when it is an error.

        Nothing may be awaited between this and the first step of ``events``.
        """
        process.add(self)
        self._recorder.start(self._composer)
        try:
            await self._opening.wait(window)
        except Exception as exc:
            process.discard(self)
            outcome = failure(exc, self._opening, self._recorder)
            raise self._recorder.refused(self._composer, outcome) from exc
        except BaseException:
            await self._leave()
            raise

    async def events(self) -> AsyncGenerator[list[Event], None]:
        """The events, in batches. Close the generator when nobody wants them any more."""
        try:
            run = respond(self._opening, composer=self._composer, recorder=self._recorder)
            async with aclosing(run) as batches:
                async for batch in batches:
                    yield batch
        finally:
            await self._leave()

    async def _leave(self) -> None:
        """Whether it has ended or nobody wants it any more."""
        process.discard(self)
        if not self._composer.ended:
            self._recorder.abandon(self._composer)
            await self._opening.close()

    async def collect(self) -> bytes:
        """The finished response as JSON. Raises ApiError when it failed."""
        await self.start(window=None)
        async with aclosing(self.events()) as batches:
            async for _ in batches:
                pass
        if self._recorder.error is not None:
            raise self._recorder.error
        return self._composer.to_json()

    def interrupt(self, error: Unavailable) -> None:
        """End the run with a terminal event that tells this error."""
        self._opening.interrupt(error)


async def prepare(
    body: CreateResponse,
    *,
    principal: Principal,
    request_id: str,
    upstream: Upstream | None = None,
) -> Run:
    """Everything that can fail before the first byte. Raises ApiError.

    The upstream is asked as soon as it is known what for.
    """
    hydrated = await hydrate(body, project_id=principal.project_id)
    model = body.model or await _default_model()
    response = new_response(body, id=new_id("resp"), model=model, created_at=int(time.time()))
    try:
        owner = await process.owner()
    except StoreUnavailable as exc:
        raise Unavailable("The database cannot be reached.") from exc
    process.check_open()
    snapshot = _snapshot(
        response, body, hydrated, principal=principal, request_id=request_id, owner=owner
    )
    if upstream is None:
        upstream = TruncatingUpstream() if body.truncation == "auto" else ChatUpstream()
    opening = Opening(
        upstream,
        _context(body, model, hydrated),
        request_id=request_id,
        deadline=asyncio.get_running_loop().time() + conf.RUN_TIMEOUT,
    )
    return Run(
        opening=opening,
        composer=ResponseComposer(
            response, ids=new_id, offers=hydrated.offers, seal=_seal(body, principal.project_id)
        ),
        recorder=Recorder(
            snapshot, input_items=hydrated.input, history=hydrated.history, upstream=upstream
        ),
    )


def _seal(body: CreateResponse, project_id: int) -> Callable[[str], str] | None:
    if not body.includes(INCLUDE_ENCRYPTED):
        return None
    sealer = Sealer(project_id)
    if not sealer.can_seal:
        raise InvalidRequest(
            "Encrypted reasoning needs GATEWAY_ENCRYPTION_KEYS on the gateway.",
            code="unsupported_value",
            param="include",
        )
    return sealer.seal


async def count_input_tokens(body: CreateResponse, *, principal: Principal) -> int:
    """The tokens of the prompt that the request would make. Raises ApiError."""
    process.check_open()
    hydrated = await hydrate(body, project_id=principal.project_id)
    model = body.model or await _default_model()
    try:
        return (await count_tokens(_context(body, model, hydrated))).prompt
    except UpstreamRefused as exc:
        if exc.status in (404, 405):
            raise InvalidRequest(
                "The model server cannot count tokens (it has no /tokenize).",
                code="unsupported_by_upstream",
            ) from exc
        raise from_upstream(exc) from exc
    except UpstreamError as exc:
        raise from_upstream(exc) from exc


async def _default_model() -> str:
    """The configured model, else the only one."""
    if conf.DEFAULT_MODEL:
        return conf.DEFAULT_MODEL
    try:
        names = await model_names.get()
    except UpstreamError as exc:
        raise from_upstream(exc) from exc
    if len(names) != 1:
        raise InvalidRequest(
            "Missing required parameter: 'model'. The server offers several: "
            f"{', '.join(names[:10])}.",
            code="missing_required_parameter",
            param="model",
        )
    return names[0]


def _context(body: CreateResponse, model: str, hydrated: Hydrated) -> Context:
    return Context(
        model=model,
        items=hydrated.items,
        media=hydrated.media,
        instructions=body.instructions,
        offers=hydrated.offers,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        temperature=body.temperature,
        top_p=body.top_p,
        max_output_tokens=body.max_output_tokens,
        text_format=body.text.format if body.text else None,
        reasoning_effort=body.reasoning.effort if body.reasoning else None,
        top_logprobs=(body.top_logprobs or 0) if body.includes(INCLUDE_LOGPROBS) else None,
        extras=body.extras(),
        # Unstreamed answers are cheaper, but lie about calls that a limit cut, and do not tell
        # which logprobs belong to the answer.
        stream=bool(body.stream or hydrated.offers.sent or body.includes(INCLUDE_LOGPROBS)),
    )


def _snapshot(
    response: Response,
    body: CreateResponse,
    hydrated: Hydrated,
    *,
    principal: Principal,
    request_id: str,
    owner: str,
) -> RunSnapshot:
    return RunSnapshot(
        id=response.id,
        project_id=principal.project_id,
        key_id=principal.key_id,
        request_id=request_id,
        previous_id=body.previous_response_id,
        root_id=hydrated.history.root_id if hydrated.history else response.id,
        owner=owner,
        model=response.model,
        kept=body.keeps,
        streamed=bool(body.stream),
        created_at=datetime.now(UTC),
        turns=1,
        ignored_tools=", ".join(dict.fromkeys(hydrated.offers.ignored)),
        media=[_stored(media) for media in hydrated.new_media.values()] if body.keeps else (),
        media_uses=sorted(references(hydrated.input)) if body.keeps else (),
    )


def _stored(media: Media) -> StoredMedia:
    """What is text already is not kept twice."""
    text = "" if media.media_type == TEXT else media.text or ""
    return StoredMedia(media.sha256, media.media_type, media.data, text)
