"""Uploaded files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import orjson
from django.http import HttpRequest, HttpResponseBase
from ninja import Query, Router, Schema
from pydantic import Field

from apps.api.auth import caller
from apps.api.engine import files
from apps.api.errors import InvalidRequest
from apps.api.protocol.params import WITHOUT_NUL
from apps.api.replies import json_reply
from apps.api.routes.forms import file_reply, read_form
from apps.api.routes.paging import list_reply
from apps.store.snapshots import StoredFile

router = Router(tags=["files"])

PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
SHORTEST, LONGEST = 3600, 2_592_000
"""Seconds that an expiring file may live."""


class FilePageQuery(Schema):
    """Which part of the list. The newest come first unless asked otherwise."""

    purpose: Annotated[str, Field(pattern=WITHOUT_NUL)] | None = None
    after: Annotated[str, Field(pattern=WITHOUT_NUL)] | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] = 10_000
    order: Literal["asc", "desc"] = "desc"


@router.post("/files", operation_id="createFile")
async def create_file(request: HttpRequest) -> HttpResponseBase:
    """Upload a file: a form with `file`, `purpose` and, to have it expire, `expires_after[anchor]`
    (`created_at`) and `expires_after[seconds]`."""
    form = await read_form(request)
    purpose = form.fields.get("purpose", "")
    if purpose not in PURPOSES:
        raise InvalidRequest(
            f"Invalid value for 'purpose': one of {', '.join(PURPOSES)} was expected.",
            code="invalid_value" if purpose else "missing_required_parameter",
            param="purpose",
        )
    if form.file is None:
        raise InvalidRequest(
            "Missing required parameter: 'file'.", code="missing_required_parameter", param="file"
        )
    stored = await files.upload(
        form.file,
        project_id=caller(request).project_id,
        filename=form.file.name or "file",
        purpose=purpose,
        size=form.file.size or 0,
        expires_at=_expiry(form.fields),
    )
    return json_reply(shown(stored))


def _expiry(fields: dict[str, str]) -> datetime | None:
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise InvalidRequest(
            "Invalid value for 'expires_after[anchor]': 'created_at' was expected.",
            code="invalid_value",
            param="expires_after[anchor]",
        )
    if seconds is None or not seconds.isdecimal() or not SHORTEST <= int(seconds) <= LONGEST:
        raise InvalidRequest(
            f"Invalid value for 'expires_after[seconds]': {SHORTEST} to {LONGEST} was expected.",
            code="invalid_value",
            param="expires_after[seconds]",
        )
    return datetime.now(UTC) + timedelta(seconds=int(seconds))


@router.get("/files", operation_id="listFiles")
async def list_files(request: HttpRequest, page: Query[FilePageQuery]) -> HttpResponseBase:
    """The project's files by time."""
    found = await files.list_all(
        project_id=caller(request).project_id,
        purpose=page.purpose,
        after=page.after,
        limit=page.limit,
        newest_first=page.order == "desc",
    )
    ids = [file.id for file in found.files]
    return list_reply(
        [orjson.dumps(shown(file)) for file in found.files],
        first_id=ids[0] if ids else None,
        last_id=ids[-1] if ids else None,
        has_more=found.has_more,
    )


@router.get("/files/{file_id}", operation_id="getFile")
async def get_file(request: HttpRequest, file_id: str) -> HttpResponseBase:
    """What is known of a file."""
    return json_reply(shown(await files.get(file_id, project_id=caller(request).project_id)))


@router.get("/files/{file_id}/content", operation_id="getFileContent")
async def get_file_content(request: HttpRequest, file_id: str) -> HttpResponseBase:
    """A file's bytes."""
    found = await files.get(file_id, project_id=caller(request).project_id)
    content = await files.content_of(found.blob)
    return file_reply(content, filename=found.filename, size=found.size)


@router.delete("/files/{file_id}", operation_id="deleteFile")
async def delete_file(request: HttpRequest, file_id: str) -> HttpResponseBase:
    """Erase a file."""
    await files.delete(file_id, project_id=caller(request).project_id)
    return json_reply({"id": file_id, "object": "file", "deleted": True})


def shown(file: StoredFile) -> dict[str, Any]:
    """The File object of the API."""
    entry: dict[str, Any] = {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": int(file.created_at.timestamp()),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
    }
    if file.expires_at is not None:
        entry["expires_at"] = int(file.expires_at.timestamp())
    return entry
