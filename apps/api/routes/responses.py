"""Create, read and delete responses."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase
from ninja import Query, Router

from apps.api.auth import caller, hold_place
from apps.api.conf import conf
from apps.api.engine import idempotency, preparation, stored
from apps.api.errors import InvalidRequest
from apps.api.protocol.requests import (
    INCLUDE_CODE_OUTPUTS,
    INCLUDE_IMAGES,
    CreateResponse,
    check_include,
)
from apps.api.replies import json_reply
from apps.api.routes.paging import Page, list_reply
from apps.api.sse import EventStream
from apps.store.idempotency import Earlier

router = Router(tags=["responses"])


@router.post("/responses", operation_id="createResponse")
async def create_response(request: HttpRequest, body: CreateResponse) -> HttpResponseBase:
    """Create a response: JSON, or a stream of events with `stream: true`."""
    who = caller(request)
    hold_place(request)
    claim = None
    # request.headers would make all of them anew.
    if (key := request.META.get(idempotency.HEADER_IN_META)) is not None:
        taken = await idempotency.claim(key, request.body, project_id=who.project_id)
        if isinstance(taken, Earlier):
            return await _told_again(taken, body, project_id=who.project_id)
        claim = taken
    try:
        run = await preparation.prepare(
            body, principal=who.principal, request_id=who.request_id, claim=claim
        )
    except BaseException:
        if claim is not None:
            await claim.release()
        raise
    response: HttpResponseBase
    if body.stream:
        await run.start(window=conf.STATUS_WINDOW)
        response = EventStream(run.events())
    else:
        response = json_reply(await run.collect())
    if run.ignored_tools:
        response["X-Gateway-Ignored-Tools"] = run.ignored_tools
    return response


async def _told_again(
    earlier: Earlier, body: CreateResponse, *, project_id: int
) -> HttpResponseBase:
    """The answer that the same request was given before."""
    found = await stored.get(earlier.response_id, project_id=project_id)
    outputs = body.includes(INCLUDE_CODE_OUTPUTS)
    response = json_reply(stored.to_json(found, project_id=project_id, code_outputs=outputs))
    response["Idempotent-Replayed"] = "true"
    if earlier.ignored_tools:
        response["X-Gateway-Ignored-Tools"] = earlier.ignored_tools
    return response


@router.post("/responses/input_tokens", operation_id="countInputTokens")
async def count_input_tokens(request: HttpRequest, body: CreateResponse) -> HttpResponseBase:
    """How many tokens the request's prompt would have. Stores nothing."""
    count = await preparation.count_input_tokens(body, principal=caller(request).principal)
    return json_reply({"object": "response.input_tokens", "input_tokens": count})


@router.get("/responses", operation_id="listResponses")
async def list_responses(request: HttpRequest, page: Query[Page]) -> HttpResponseBase:
    """The project's stored responses by time. An extension of the API."""
    project_id = caller(request).project_id
    found = await stored.list_all(
        project_id=project_id,
        after=page.after,
        limit=page.limit,
        newest_first=page.newest_first,
    )
    ids = [response.id for response in found.responses]
    return list_reply(
        [stored.to_json(response, project_id=project_id) for response in found.responses],
        first_id=ids[0] if ids else None,
        last_id=ids[-1] if ids else None,
        has_more=found.has_more,
    )


@router.get("/responses/{response_id}", operation_id="getResponse")
async def get_response(request: HttpRequest, response_id: str) -> HttpResponseBase:
    """A stored response. Takes `include` as the create request does."""
    includes = _check_includes(request)
    if request.GET.get("stream") == "true":
        raise InvalidRequest(
            "Only responses made in the background can be streamed again.",
            code="unsupported_value",
            param="stream",
        )
    project_id = caller(request).project_id
    found = await stored.get(response_id, project_id=project_id)
    outputs = INCLUDE_CODE_OUTPUTS in includes
    return json_reply(stored.to_json(found, project_id=project_id, code_outputs=outputs))


@router.delete("/responses/{response_id}", operation_id="deleteResponse")
async def delete_response(request: HttpRequest, response_id: str) -> HttpResponseBase:
    """Erase a response. Chains through it cannot be continued any more."""
    await stored.delete(response_id, project_id=caller(request).project_id)
    return json_reply({"id": response_id, "object": "response", "deleted": True})


@router.post("/responses/{response_id}/cancel", operation_id="cancelResponse")
async def cancel_response(request: HttpRequest, response_id: str) -> HttpResponseBase:
    """Refused for every response there is: none runs in the background."""
    await stored.get(response_id, project_id=caller(request).project_id)
    raise InvalidRequest("Cannot cancel a synchronous response.", code="invalid_value")


@router.get("/responses/{response_id}/input_items", operation_id="listInputItems")
async def list_input_items(
    request: HttpRequest, response_id: str, page: Query[Page]
) -> HttpResponseBase:
    """What the response was given: the chain before it, then its own input."""
    includes = _check_includes(request)
    found = await stored.input_items(
        response_id,
        project_id=caller(request).project_id,
        after=page.after,
        limit=page.limit,
        newest_first=page.newest_first,
        images=INCLUDE_IMAGES in includes,
        code_outputs=INCLUDE_CODE_OUTPUTS in includes,
    )
    return list_reply(
        found.items, first_id=found.first_id, last_id=found.last_id, has_more=found.has_more
    )


def _check_includes(request: HttpRequest) -> list[str]:
    """SDKs send ``include[]=``; plain ``include=`` is understood too."""
    includes = [*request.GET.getlist("include[]"), *request.GET.getlist("include")]
    for value in includes:
        if (problem := check_include(value)) is not None:
            raise InvalidRequest(problem, code="unsupported_value", param="include")
    return includes
