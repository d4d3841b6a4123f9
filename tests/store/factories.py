"""Rows for tests: plain functions with defaults for whatever a test does not care about."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from django.utils import timezone

from apps.store.models import Lease, McpServer, Project, Response, ResponsePayload, StoredItem
from apps.store.models.response import RUNNING
from apps.store.snapshots import ItemText, RunSnapshot

_numbers = itertools.count(1)


def make_project(**fields: Any) -> Project:
    number = next(_numbers)
    return Project.objects.create(
        **{"slug": f"project-{number}", "name": f"Project {number}"} | fields
    )


def make_mcp_server(label: str | None = None, **fields: Any) -> McpServer:
    defaults = {"label": label or f"server-{next(_numbers)}"}
    if fields.get("transport") != "stdio":
        defaults["url"] = "https://tools.example.org/mcp"
    return McpServer.objects.create(**defaults | fields)


def make_response(*, body: Mapping[str, Any] | None = None, **fields: Any) -> Response:
    """A row and, when ``body`` is given, its payload. Completed and a root unless told otherwise."""
    number = next(_numbers)
    previous = fields.get("previous")
    now = timezone.now()
    values: dict[str, Any] = {
        "id": f"resp_{number:048x}",
        "project": previous.project if previous else None,
        "status": "completed",
        "model": "demo-model",
        "owner": "process-1",
        "created_at": now,
        "used_at": now,
    } | fields
    values["project"] = values["project"] or Project.objects.get(slug=Project.DEFAULT_SLUG)
    if values["status"] not in RUNNING:
        values.setdefault("ended_at", values["created_at"])
    response = Response(**values)
    response.root = previous.root if previous else response
    response.save(force_insert=True)
    if body is not None:
        text = json.dumps({"id": response.id, "object": "response", **body})
        ResponsePayload.objects.create(response=response, body=text)
    return response


def make_items(
    response: Response, *items: Mapping[str, Any], direction: int = StoredItem.OUTPUT
) -> list[StoredItem]:
    """Append items to a response's input or output."""
    start = response.items.filter(direction=direction).count()
    return StoredItem.objects.bulk_create(
        StoredItem(
            response=response,
            direction=direction,
            position=position,
            item_id=item.get("id", f"item_{next(_numbers)}"),
            kind=item.get("type", "message"),
            payload=json.dumps(item),
        )
        for position, item in enumerate(items, start)
    )


def make_lease(owner: str = "process-1", *, seconds: float = 30) -> Lease:
    """A process that lives for so long, or that has been dead for so long."""
    expires_at = timezone.now() + timedelta(seconds=seconds)
    return Lease.objects.create(owner=owner, host="test", expires_at=expires_at)


def make_run(*, previous: Response | None = None, **fields: Any) -> RunSnapshot:
    """A run as the engine hands it over: in progress, with one input item, unless told otherwise."""
    number = next(_numbers)
    key = f"resp_{number:048x}"
    values: dict[str, Any] = {
        "id": key,
        "project_id": Project.objects.get(slug=Project.DEFAULT_SLUG).pk,
        "key_id": None,
        "request_id": f"req_{number}",
        "previous_id": previous.pk if previous else None,
        "root_id": previous.root_id if previous else key,
        "owner": "process-1",
        "model": "demo-model",
        "kept": True,
        "streamed": False,
        "created_at": timezone.now(),
        "body": b'{"status":"in_progress"}',
        "input": [make_text(id=f"msg_in_{number}")],
    }
    return RunSnapshot(**values | fields)


def ended(run: RunSnapshot, *output: ItemText, status: str = "completed") -> RunSnapshot:
    """The same run at its end."""
    return replace(
        run,
        status=status,
        ended_at=timezone.now(),
        body=f'{{"status":"{status}"}}'.encode(),
        output=output or [make_text(id=f"msg_out_{next(_numbers)}")],
    )


def make_text(**item: Any) -> ItemText:
    """An item as the engine renders it."""
    whole = {"id": "msg_1", "type": "message"} | item
    return ItemText(whole["id"], whole["type"], json.dumps(whole).encode())
