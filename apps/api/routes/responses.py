"""Create, read and delete responses."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase
from ninja import Query, Router

from apps.api.auth import caller
from apps.api.conf import conf
from apps.api.engine import runs, stored
from apps.api.errors import InvalidRequest
from apps.api.protocol.requests import INCLUDE_IMAGES, CreateResponse, check_include
from apps.api.replies import json_reply
from apps.api.routes.paging import Page, list_reply
from apps.api.sse import EventStream

router = Router(tags=["responses"])


@router.post("/responses", operation_id="createResponse")
async def create_response(request: HttpRequest, body: CreateResponse) -> HttpResponseBase:
    """Create a response: JSON, or a stream of events with `stream: true`."""
    who = caller(request)
    run = await runs.prepare(body, principal=who.principal, request_id=who.request_id)
    response: HttpResponseBase
    if body.stream:
        await run.start(window=conf.STATUS_WINDOW)
        response = EventStream(run.events())
    else:
        response = json_reply(await run.collect())
    if run.ignored_tools:
        response["X-Gateway-Ignored-Tools"] = run.ignored_tools
    return response


@router.post("/responses/input_tokens", operation_id="countInputTokens")
async def count_input_tokens(request: HttpRequest, body: CreateResponse) -> HttpResponseBase:
    """How many tokens the request's prompt would have. Stores nothing."""
    count = await runs.count_input_tokens(body, principal=caller(request).principal)
    return json_reply({"object": "response.input_tokens", "input_tokens": count})


@router.get("/responses", operation_id="listResponses")
async def list_responses(request: HttpRequest, page: Query[Page]) -> HttpResponseBase:
    """The project's stored responses by time. An extension of the API."""
    found = await stored.list_all(
        project_id=caller(request).project_id,
        after=page.after,
        limit=page.limit,
        newest_first=page.newest_first,
    )
    ids = [response.id for response in found.responses]
    return list_reply(
        map(stored.to_json, found.responses),
        first_id=ids[0] if ids else None,
        last_id=ids[-1] if ids else None,
        has_more=found.has_more,
    )


@router.get("/responses/{response_id}", operation_id="getResponse")
async def get_response(request: HttpRequest, response_id: str) -> HttpResponseBase:
    """A stored response. Takes `include` as the create request does."""
    _check_includes(request)
    if request.GET.get("stream") == "true":
        raise InvalidRequest(
            "Only responses made in the background can be streamed again.",
            code="unsupported_value",
            param="stream",
        )
    found = await stored.get(response_id, project_id=caller(request).project_id)
    return json_reply(stored.to_json(found))


@router.delete("/responses/{response_id}", operation_id="deleteResponse")
async def delete_response(request: HttpRequest, response_id: str) -> HttpResponseBase:
    """Erase a response. Chains through it cannot be continued any more."""
    await stored.delete(response_id, project_id=caller(request).project_id)
    return json_reply({"id": response_id, "object": "response", "deleted": True})


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
