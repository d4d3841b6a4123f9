"""Responses in the database: each function is one transaction, for use through ``in_thread``.

The store keeps JSON texts and columns; what they mean is the protocol's business.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import orjson
from django.db import IntegrityError, transaction
from django.db.models import F, OuterRef, QuerySet
from django.db.models.functions import Now

from apps.store import media, run_rows
from apps.store.errors import ResponseNotFound, UnknownCursor
from apps.store.history import chain_items
from apps.store.leases import valid_lease
from apps.store.models import Response, ResponsePayload, StoredItem
from apps.store.models.response import RUNNING
from apps.store.snapshots import (
    ItemPage,
    ResponsePage,
    RunSnapshot,
    StoredResponse,
)

# --- Writing --------------------------------------------------------------------------------------


def begin_response(run: RunSnapshot) -> None:
    """Make a run visible while it goes on."""
    with transaction.atomic():
        _insert(run)


def finish_response(run: RunSnapshot, *, begun: bool) -> bool:
    """Write the end of a run: once, and only by the process that still owns it.

    False when the run is no longer ours: its lease ran out, or it was deleted. ``begun`` says that
    ``begin_response`` was tried; whether it came through is found out here.
    """
    if not begun:
        try:
            with transaction.atomic():
                _insert(run)
        except IntegrityError:
            # The row is there after all: its first write came through and the answer got lost.
            return _end(run)
        return True
    if _end(run):
        return True
    if Response.objects.filter(pk=run.id).exists():
        return False
    return finish_response(run, begun=False)


def _insert(run: RunSnapshot) -> None:
    run_rows.insert(run)
    if run.kept:
        media.keep(run)


def _end(run: RunSnapshot) -> bool:
    with transaction.atomic():
        return run_rows.end(run)


def give_up(response_ids: Collection[str]) -> None:
    """Mark runs failed that have ended, but whose end could not be stored."""
    Response.objects.filter(pk__in=response_ids, status__in=RUNNING).update(
        status="failed", error_code="server_error", error_stage="store", ended_at=Now()
    )


def delete_response(response_id: str, *, project_id: int) -> None:
    """Erase what was said and leave a tombstone; a run that still goes on is cancelled by that.
    Raises ResponseNotFound."""
    live = _live(project_id).filter(pk=response_id)
    with transaction.atomic():
        if not live.update(deleted_at=Now()):
            raise ResponseNotFound(response_id)
        Response.objects.filter(pk=response_id, status__in=RUNNING).update(
            status="cancelled", ended_at=Now()
        )
        root = Response.objects.filter(pk=response_id).values("root_id")
        Response.objects.filter(pk__in=root).update(revision=F("revision") + 1)
        ResponsePayload.objects.filter(pk=response_id).delete()
        StoredItem.objects.filter(response_id=response_id).delete()
        media.release(response_id)


# --- Reading --------------------------------------------------------------------------------------


def _live(project_id: int) -> QuerySet[Response]:
    """What the API may show of a project."""
    return Response.objects.filter(project_id=project_id, kept=True, deleted_at=None)


def get_response(response_id: str, *, project_id: int) -> StoredResponse:
    """One response with its output. Raises ResponseNotFound."""
    found = _read(_live(project_id).filter(pk=response_id))
    if not found:
        raise ResponseNotFound(response_id)
    return found[0]


def list_responses(
    *, project_id: int, after: str | None, limit: int, newest_first: bool
) -> ResponsePage:
    """A page of a project's responses by time. Raises UnknownCursor."""
    rows = _live(project_id)
    if after is not None:
        cursor = rows.filter(pk=after).values_list("created_at", "pk").first()
        if cursor is None:
            raise UnknownCursor(after)
        # Ids sort by time too: they settle the order of what began in the same moment.
        created_at, key = cursor
        suffix = "lt" if newest_first else "gt"
        same_moment = rows.filter(created_at=created_at, **{f"pk__{suffix}": key})
        rows = same_moment | rows.filter(**{f"created_at__{suffix}": created_at})
    order = ("-created_at", "-pk") if newest_first else ("created_at", "pk")
    found = _read(rows.order_by(*order)[: limit + 1])
    return ResponsePage(found[:limit], len(found) > limit)


def _read(rows: QuerySet[Response]) -> list[StoredResponse]:
    """Two statements for any number of rows."""
    found = list(
        rows.annotate(alive=valid_lease(OuterRef("owner"))).values_list(
            "pk", "status", "alive", "payload__body"
        )
    )
    output: dict[str, list[bytes]] = {key: [] for key, *_ in found}
    items = StoredItem.objects.filter(response_id__in=output, direction=StoredItem.OUTPUT)
    for key, payload in items.order_by("position").values_list("response_id", "payload"):
        output[key].append(payload.encode())
    return [
        StoredResponse(
            id=key,
            status="failed" if status in RUNNING and not alive else status,
            body=(body or "{}").encode(),
            output=output[key],
        )
        for key, status, alive, body in found
    ]


def list_input_items(
    response_id: str, *, project_id: int, after: str | None, limit: int, newest_first: bool
) -> ItemPage:
    """A page of everything that the response was given: the chain before it and its own input.

    Raises ResponseNotFound and UnknownCursor. Item ids may repeat in a chain whose client sends
    old items again: the first of them counts as the cursor.
    """
    if not _live(project_id).filter(pk=response_id).exists():
        raise ResponseNotFound(response_id)
    keys = chain_items(response_id, project_id=project_id)
    if newest_first:
        keys.reverse()
    start = 0
    if after is not None:
        ids = [item_id for _, item_id in keys]
        if after not in ids:
            raise UnknownCursor(after)
        start = ids.index(after) + 1
    page = keys[start : start + limit]
    payloads = dict(
        StoredItem.objects.filter(pk__in=[key for key, _ in page]).values_list("pk", "payload")
    )
    return ItemPage(
        items=[payloads[key].encode() for key, _ in page],
        first_id=page[0][1] if page else None,
        last_id=page[-1][1] if page else None,
        has_more=len(keys) > start + limit,
    )


def find_items(item_ids: Iterable[str], *, project_id: int) -> dict[str, dict[str, Any]]:
    """Stored items of a project by their ids; what is not found is missing from the answer."""
    rows = StoredItem.objects.filter(
        item_id__in=set(item_ids),
        response__project_id=project_id,
        response__kept=True,
        response__deleted_at=None,
    )
    newest_last = rows.order_by("pk").values_list("item_id", "payload")
    return {item_id: orjson.loads(payload) for item_id, payload in newest_last}
