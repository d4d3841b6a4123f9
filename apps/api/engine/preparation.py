"""What comes before a run: everything that can fail before the first byte."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from apps.api.conf import conf
from apps.api.engine import pictures
from apps.api.engine.approvals import decide
from apps.api.engine.binding import BindingUpstream
from apps.api.engine.failures import database_needed, from_upstream
from apps.api.engine.gates import check_priority
from apps.api.engine.grammars import check_grammars
from apps.api.engine.hydrate import Hydrated, hydrate, offered
from apps.api.engine.idempotency import Claim
from apps.api.engine.loop import failed
from apps.api.engine.process import process
from apps.api.engine.recorder import Recorder
from apps.api.engine.runs import Run
from apps.api.engine.sealing import Sealer
from apps.api.engine.toolbox import ToolBox, open_tools
from apps.api.engine.truncation import TruncatingUpstream
from apps.api.engine.turns import Turns
from apps.api.errors import ApiError, InvalidRequest
from apps.api.protocol.calls import OURS
from apps.api.protocol.composer import ResponseComposer
from apps.api.protocol.context import Context
from apps.api.protocol.ids import TurnIds, new_id
from apps.api.protocol.media import Media, code_images, code_references, references
from apps.api.protocol.media_types import TEXT
from apps.api.protocol.offers import Offers
from apps.api.protocol.requests import (
    INCLUDE_CODE_OUTPUTS,
    INCLUDE_ENCRYPTED,
    INCLUDE_LOGPROBS,
    CreateResponse,
)
from apps.api.protocol.response import Response, new_response
from apps.api.protocol.types import Item
from apps.api.upstream.capabilities import Capability
from apps.api.upstream.client import ChatUpstream, Upstream
from apps.api.upstream.errors import UpstreamError, UpstreamRefused
from apps.api.upstream.models import model_names
from apps.api.upstream.tokens import count_tokens
from apps.store.capabilities import works
from apps.store.db import in_thread
from apps.store.errors import StoreUnavailable
from apps.store.keys import Principal
from apps.store.snapshots import RunSnapshot, StoredMedia
from apps.tools.base import RunInfo


async def prepare(
    body: CreateResponse,
    *,
    principal: Principal,
    request_id: str,
    claim: Claim | None = None,
    upstream: Upstream | None = None,
) -> Run:
    """Everything that can fail before the first byte. Raises ApiError.

    The upstream is asked as soon as it is known what for. A claim on an idempotency key is the
    run's from then on.
    """
    check_priority(body.priority, principal)
    await check_grammars(body)
    hydrated = await hydrate(body, project_id=principal.project_id)
    model = body.model or await _default_model()
    response_id = claim.response_id if claim is not None else new_id("resp")
    response = new_response(body, id=response_id, model=model, created_at=int(time.time()))
    with database_needed():
        owner = await process.owner()
    process.check_open()
    seal = _seal(body, principal.project_id)
    ids = TurnIds()
    began = asyncio.get_running_loop().time()
    deadline = began + conf.RUN_TIMEOUT
    about = _run_info(response, body, hydrated, principal, request_id, deadline)
    snapshot = _snapshot(
        response, body, hydrated, principal=principal, request_id=request_id, owner=owner
    )
    try:
        tools = await open_tools(body, about, ids)
    except ApiError as exc:
        _refused(snapshot, response, exc, since=began)
        raise
    try:
        offers = offered(body, hydrated.items, tools.functions())
        decided = await decide(hydrated.input, hydrated.context, tools, offers)
        context = _context(body, model, hydrated, offers)
        context = await _with_pictures(context, tools, hydrated, principal.project_id)
    except BaseException:
        process.afterwards(tools.close())
        raise
    if upstream is None:
        upstream = TruncatingUpstream() if body.truncation == "auto" else ChatUpstream()
    if any(offer.grammar is not None for offer in offers):
        upstream = BindingUpstream(upstream)
    snapshot.ignored_tools = ", ".join(dict.fromkeys(offers.ignored))
    snapshot.made = tools.pictures.made  # which grows as the run goes on
    return Run(
        turns=Turns(
            upstream,
            context,
            request_id=request_id,
            deadline=deadline,
            ids=ids,
            most=conf.MAX_TURNS,
        ),
        composer=ResponseComposer(
            response,
            ids=ids,
            offers=offers,
            seal=seal,
            code_outputs=body.includes(INCLUDE_CODE_OUTPUTS),
            files=tools.files(),
            told=bool(body.stream),
        ),
        recorder=Recorder(snapshot, input_items=hydrated.input, upstream=upstream),
        tools=tools,
        decided=decided,
        claim=claim,
    )


def _refused(run: RunSnapshot, response: Response, error: ApiError, *, since: float) -> None:
    """Operators see what tools refuse like what the upstream refuses: it may be theirs to mend."""
    run.turns = 0
    recorder = Recorder(run, input_items=(), upstream=ChatUpstream(), since=since)
    recorder.failed("tools", error, upstream_status=None)
    recorder.refused(ResponseComposer(response, ids=TurnIds()), failed(error))


async def _with_pictures(
    context: Context, tools: ToolBox, hydrated: Hydrated, project_id: int
) -> Context:
    """Whether images of hosted tools may be shown to the model, and those that stored calls refer
    to: a model that cannot see refuses the whole request. What nobody has looked at is taken for
    blind."""
    if not tools.is_open and not any(_has_pictures(item) for item in hydrated.items):
        return context
    try:
        if await in_thread(works, context.model, Capability.IMAGES) is not True:
            return replace(context, sees_images=False)
        stored = await pictures.shown(hydrated.items, project_id=project_id)
    except StoreUnavailable:
        return replace(context, sees_images=False)
    return replace(context, media={**context.media, **stored})


def _has_pictures(item: Item) -> bool:
    return item["type"] in OURS and bool(item.get("images") or code_images(item))


def _run_info(
    response: Response,
    body: CreateResponse,
    hydrated: Hydrated,
    principal: Principal,
    request_id: str,
    deadline: float,
) -> RunInfo:
    used = [item["container_id"] for item in hydrated.items if item.get("container_id")]
    return RunInfo(
        response_id=response.id,
        root_id=hydrated.history.root_id if hydrated.history else response.id,
        project_id=principal.project_id,
        request_id=request_id,
        deadline=deadline,
        key_id=principal.key_id,
        container_id=used[-1] if used else None,
        kept=body.keeps,
        files=hydrated.files,
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
    check_priority(body.priority, principal)
    await check_grammars(body)
    hydrated = await hydrate(body, project_id=principal.project_id)
    model = body.model or await _default_model()
    response = new_response(body, id=new_id("resp"), model=model, created_at=int(time.time()))
    deadline = asyncio.get_running_loop().time() + conf.RUN_TIMEOUT
    about = _run_info(response, body, hydrated, principal, "", deadline)
    tools = await open_tools(body, about, TurnIds())
    try:
        offers = offered(body, hydrated.items, tools.functions())
        context = _context(body, model, hydrated, offers)
        context = await _with_pictures(context, tools, hydrated, principal.project_id)
    finally:
        await tools.close()
    try:
        return (await count_tokens(context)).prompt
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


def _context(body: CreateResponse, model: str, hydrated: Hydrated, offers: Offers) -> Context:
    return Context(
        model=model,
        items=hydrated.items,
        media=hydrated.media,
        instructions=body.instructions,
        offers=offers,
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
        stream=bool(body.stream or offers.sent or body.includes(INCLUDE_LOGPROBS)),
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
        media=[_stored(media) for media in hydrated.new_media.values()] if body.keeps else (),
        media_uses=sorted(_uses(hydrated.input)) if body.keeps else (),
    )


def _uses(items: Sequence[Item]) -> set[str]:
    return references(items) | code_references(items)


def _stored(media: Media) -> StoredMedia:
    """What is text already is not kept twice."""
    text = "" if media.media_type == TEXT else media.text or ""
    return StoredMedia(media.sha256, media.media_type, media.data, text)
