"""Responses in the database: each function is one transaction, for use through ``in_thread``.

The store keeps JSON texts and columns; what they mean is the protocol's business.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import orjson
from django.db import DataError, IntegrityError, transaction
from django.db.models import Case, FilteredRelation, OuterRef, Q, QuerySet, When
from django.db.models.functions import Now

from apps.store import mcp_records, media, run_rows
from apps.store.errors import ResponseNotFound, StoreUnavailable, UnknownCursor
from apps.store.history import chain_items
from apps.store.leases import valid_lease
from apps.store.models import CodeCall, Response, ResponsePayload, StoredItem
from apps.store.models.response import RUNNING
from apps.store.paging import by_time
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


class Ending(NamedTuple):
    """What ``finish_response`` takes."""

    run: RunSnapshot
    begun: bool


def finish_responses(endings: list[Ending]) -> list[bool | Exception]:
    """``finish_response`` for several runs: in one transaction, as long as nothing is special."""
    plain = [ending for ending in endings if not _has_media(ending.run)]
    try:
        written = _finish_together(plain) if len(endings) > 1 else set()
    except (IntegrityError, DataError):
        written = set()  # by one of them: each for itself
    return [ending.run.id in written or _alone(ending) for ending in endings]


def _has_media(run: RunSnapshot) -> bool:
    return bool(run.media or run.media_uses or run.made)


def _finish_together(endings: list[Ending]) -> set[str]:
    """The ids of those that were written."""
    new = [ending.run for ending in endings if not ending.begun]
    old = [ending.run for ending in endings if ending.begun]
    with transaction.atomic():
        run_rows.insert(new)
        ended = [run for run in old if run_rows.end(run)]
        run_rows.use_chains([*_other_roots(new), *(run.root_id for run in ended)])
    return {run.id for run in (*new, *ended)}


def _alone(ending: Ending) -> bool | Exception:
    try:
        return finish_response(ending.run, begun=ending.begun)
    except (IntegrityError, DataError) as exc:
        return StoreUnavailable(str(exc).strip())


def _insert(run: RunSnapshot) -> None:
    run_rows.insert([run])
    run_rows.use_chains(_other_roots([run]))
    if run.kept and _has_media(run):
        media.keep(run)


def _other_roots(runs: Iterable[RunSnapshot]) -> list[str]:
    """The chains that these runs continue; one that begins a chain is new itself."""
    return [run.root_id for run in runs if run.root_id != run.id]


def _end(run: RunSnapshot) -> bool:
    with transaction.atomic():
        if not run_rows.end(run):
            return False
        run_rows.use_chains([run.root_id])
        if run.made:
            media.keep(run)
        return True


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
        ResponsePayload.objects.filter(pk=response_id).delete()
        StoredItem.objects.filter(response_id=response_id).delete()
        CodeCall.objects.filter(response_id=response_id).update(code="", output="")
        mcp_records.forget(response_id)
        media.release(response_id)


def deleted_among(response_ids: Collection[str]) -> set[str]:
    """Those of the responses that have been deleted."""
    gone = Response.objects.filter(pk__in=response_ids, deleted_at__isnull=False)
    return set(gone.values_list("pk", flat=True))


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
    rows = by_time(_live(project_id), after=after, newest_first=newest_first)
    found = _read(rows[: limit + 1])
    return ResponsePage(found[:limit], len(found) > limit)


def _read(rows: QuerySet[Response]) -> list[StoredResponse]:
    """One statement for any number of rows: a run that ends meanwhile is seen before or after its
    end, never half of it."""
    found: dict[str, StoredResponse] = {}
    for key, status, alive, body, payload in _with_output(rows):
        if key not in found:
            is_lost = status in RUNNING and not alive
            found[key] = StoredResponse(
                id=key,
                status="failed" if is_lost else status,
                body=(body or "{}").encode(),
                output=[],
            )
        if payload is not None:
            found[key].output.append(payload.encode())
    return list(found.values())


def _with_output(rows: QuerySet[Response]) -> QuerySet[Response, tuple[Any, ...]]:
    """A row for each item of the output, one for a response without any. The body, which is long,
    is in the first of them only."""
    first = Q(outputs__position=None) | Q(outputs__position=0)
    return (
        Response.objects.filter(pk__in=rows.values("pk"))
        .annotate(
            alive=valid_lease(OuterRef("owner")),
            outputs=FilteredRelation("items", condition=Q(items__direction=StoredItem.OUTPUT)),
        )
        .order_by(*rows.query.order_by, "outputs__position")
        .values_list(
            "pk",
            "status",
            "alive",
            Case(When(first, then="payload__body"), default=None),
            "outputs__payload",
        )
    )


def list_input_items(
    response_id: str, *, project_id: int, after: str | None, limit: int, newest_first: bool
) -> ItemPage:
    """A page of everything that the response was given: the chain before it and its own input.

    Raises ResponseNotFound and UnknownCursor. Item ids repeat in a chain whose client sends old
    items again: each is listed once, where it was first, or paging by ids would go in circles.
    """
    if not _live(project_id).filter(pk=response_id).exists():
        raise ResponseNotFound(response_id)
    firsts: dict[str, int] = {}
    for key, item_id in chain_items(response_id, project_id=project_id):
        firsts.setdefault(item_id, key)
    keys = [(key, item_id) for item_id, key in firsts.items()]
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
    if len(payloads) < len(page):  # deleted meanwhile
        raise ResponseNotFound(response_id)
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
