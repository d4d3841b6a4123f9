"""Responses that have been stored: read, listed, deleted, in the API's terms."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ParamSpec, TypeVar

import orjson

from apps.api.engine.failures import database_needed
from apps.api.engine.media import with_data
from apps.api.engine.pictures import link
from apps.api.engine.process import process
from apps.api.errors import InvalidRequest, NotFound
from apps.api.protocol.response import splice
from apps.api.protocol.stored_items import as_seen
from apps.store import responses as store
from apps.store.db import in_thread, in_writer
from apps.store.errors import ResponseNotFound, UnknownCursor
from apps.store.snapshots import ItemPage, ResponsePage, StoredResponse

P = ParamSpec("P")
R = TypeVar("R")

LOST = {"code": "server_error", "message": "The process that ran this response ended."}


async def get(response_id: str, *, project_id: int) -> StoredResponse:
    """Raises NotFound, Unavailable."""
    return await _ask(in_thread, store.get_response, response_id, project_id=project_id)


async def delete(response_id: str, *, project_id: int) -> None:
    """A run that still goes on ends: here at once, in another process when it next renews its
    lease. Raises NotFound, Unavailable."""
    await _ask(in_writer, store.delete_response, response_id, project_id=project_id)
    process.end_deleted({response_id})


async def list_all(
    *, project_id: int, after: str | None, limit: int, newest_first: bool
) -> ResponsePage:
    """Raises InvalidRequest, Unavailable."""
    return await _ask(
        in_thread,
        store.list_responses,
        project_id=project_id,
        after=after,
        limit=limit,
        newest_first=newest_first,
    )


async def input_items(
    response_id: str,
    *,
    project_id: int,
    after: str | None,
    limit: int,
    newest_first: bool,
    images: bool,
    code_outputs: bool,
) -> ItemPage:
    """Raises NotFound, InvalidRequest, Unavailable."""
    page = await _ask(
        in_thread,
        store.list_input_items,
        response_id,
        project_id=project_id,
        after=after,
        limit=limit,
        newest_first=newest_first,
    )
    links = partial(link, project_id=project_id)
    items = [as_seen(item, code_outputs=code_outputs, link=links) for item in page.items]
    with database_needed():
        return await with_data(page._replace(items=items), project_id=project_id, images=images)


def to_json(response: StoredResponse, *, project_id: int, code_outputs: bool = False) -> bytes:
    """The whole resource. The row's status is the truth: the process that would have written the
    end into the body may have died."""
    links = partial(link, project_id=project_id)
    output = [as_seen(item, code_outputs=code_outputs, link=links) for item in response.output]
    body = orjson.loads(response.body)
    if body["status"] == response.status:
        return splice(response.body, output)
    body |= {"status": response.status, "error": LOST if response.status == "failed" else None}
    return splice(orjson.dumps(body), output)


async def _ask(where: Any, unit: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run one unit of the store, in its reading or writing threads; translate its errors."""
    try:
        with database_needed():
            result: R = await where(unit, *args, **kwargs)
    except ResponseNotFound as exc:
        raise NotFound(f"Response with id '{exc}' not found.", param="response_id") from exc
    except UnknownCursor as exc:
        raise InvalidRequest(
            f"Nothing in the list has the id '{exc}'.", code="invalid_value", param="after"
        ) from exc
    return result
