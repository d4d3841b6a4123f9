"""Reads what was said in a response, and before it, for its page in the admin.

The number of statements is fixed, and what is read is bounded: a chain may be thousands of
responses long and an item may hold a picture of twenty megabytes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from django.db.models.functions import Length

from apps.store.admin import conversation
from apps.store.admin.conversation import Block, Entry
from apps.store.admin.display import moment
from apps.store.models import Response, ResponsePayload, StoredItem
from apps.store.models.response import RUNNING

ANCESTORS_SHOWN = 50
ITEMS_SHOWN = 300
CHARACTERS_READ = 10_000_000
RAW_LIMIT = 500_000

CHAIN = """
    WITH RECURSIVE chain (id, depth) AS (
        SELECT id, 0 FROM store_response WHERE id = %s
        UNION ALL
        SELECT r.previous_id, depth + 1 FROM store_response r JOIN chain ON r.id = chain.id
        WHERE r.previous_id IS NOT NULL AND depth < %s
    )
    SELECT store_response.* FROM store_response JOIN chain ON store_response.id = chain.id
    ORDER BY depth DESC
"""


@dataclass(slots=True)
class Exchange:
    """What one response took and gave. ``remark`` says why there may be nothing to see."""

    response: Response
    remark: str
    input: list[Entry] = field(default_factory=list)
    output: list[Entry] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcript:
    """The exchanges, oldest first, the response's own last."""

    exchanges: list[Exchange]
    older: str | None  # the id of the last response before those shown
    items_left_out: int
    raw: Block | None


def transcript(response: Response, *, with_history: bool) -> Transcript:
    chain = [response]
    if with_history and response.previous_id:
        chain = [*Response.objects.raw(CHAIN, [response.pk, ANCESTORS_SHOWN])][:-1] + chain
    items, left_out = _items([link.pk for link in chain])
    exchanges = [_exchange(link, items[link.pk]) for link in chain]
    body = resource(response)
    if text := body.get("instructions"):
        exchanges[-1].input.insert(0, conversation.instructions(text))
    return Transcript(
        exchanges=exchanges,
        older=chain[0].previous_id if with_history else None,
        items_left_out=left_out,
        raw=_raw(body, items[response.pk]),
    )


def resource(response: Response) -> dict[str, Any]:
    """The stored Response resource, or an empty dictionary; read once per instance."""
    try:
        body = json.loads(response.payload.body)
    except (ResponsePayload.DoesNotExist, ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


@dataclass(frozen=True, slots=True)
class _Item:
    direction: int
    kind: str
    length: int
    payload: str | None  # None when it would not fit


def _items(response_ids: list[str]) -> tuple[dict[str, list[_Item]], int]:
    """The items of some responses by response, in order, and how many old ones are left out."""
    age = {response_id: number for number, response_id in enumerate(response_ids)}
    rows = sorted(
        StoredItem.objects.filter(response_id__in=response_ids)
        .annotate(length=Length("payload"))
        .values_list("response_id", "direction", "position", "pk", "kind", "length"),
        key=lambda row: (age[row[0]], row[1], row[2]),
    )
    shown, room, readable = rows[-ITEMS_SHOWN:], CHARACTERS_READ, []
    for *_, pk, _, length in reversed(shown):  # the latest are the ones to see
        if length <= room:
            room -= length
            readable.append(pk)
    payloads = dict(StoredItem.objects.filter(pk__in=readable).values_list("pk", "payload"))
    items: dict[str, list[_Item]] = defaultdict(list)
    for response_id, direction, _, pk, kind, length in shown:
        items[response_id].append(_Item(direction, kind, length, payloads.get(pk)))
    return items, len(rows) - len(shown)


def _exchange(response: Response, items: list[_Item]) -> Exchange:
    exchange = Exchange(response, "" if items else _why_empty(response))
    for item in items:
        side = exchange.input if item.direction == StoredItem.INPUT else exchange.output
        if item.payload is None:
            side.append(conversation.too_large(item.kind, item.length))
        else:
            side.append(conversation.entry(item.kind, item.payload))
    return exchange


def _why_empty(response: Response) -> str:
    if response.deleted_at:
        return f"The content was deleted at {moment(response.deleted_at)}."
    if not response.kept and response.status == "failed":
        return "Nothing is kept of requests that were answered with an error, or said store: false."
    if not response.kept:
        return "The request said store: false, so nothing of its content was kept."
    if response.status in RUNNING:
        return "The run is in progress. What it says is stored when it ends."
    return "No items are stored."


def _raw(body: dict[str, Any], items: list[_Item]) -> Block | None:
    if not body and not items:
        return None
    sides: dict[int, list[Any]] = {StoredItem.INPUT: [], StoredItem.OUTPUT: []}
    for item in items:
        sides[item.direction].append(_parsed(item))
    stored = {
        "response": body,
        "input": sides[StoredItem.INPUT],
        "output": sides[StoredItem.OUTPUT],
    }
    return conversation.block(conversation.raw_json(stored), is_code=True, limit=RAW_LIMIT)


def _parsed(item: _Item) -> Any:
    if item.payload is None:
        return f"({item.length:,} characters, not shown here)"
    try:
        return json.loads(item.payload)
    except (ValueError, RecursionError):
        return item.payload
