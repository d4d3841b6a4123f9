"""Files by signed addresses: the signature is the key."""

from __future__ import annotations

import io
import posixpath

from django.http import HttpRequest, HttpResponseBase
from ninja import Router

from apps.api.engine import files
from apps.api.engine.failures import database_needed
from apps.api.errors import InvalidRequest, NotFound
from apps.api.protocol.media_types import OCTETS, sniff
from apps.api.replies import json_reply
from apps.api.routes.forms import file_reply
from apps.store.db import in_thread
from apps.store.media import contents
from apps.tools.container_files import relative
from apps.tools.signed_urls import ContainerGrant, G, MediaGrant, NotGranted, granted

router = Router(auth=None)


@router.get("/signed/media/{token}", include_in_schema=False)
async def get_image(request: HttpRequest, token: str) -> HttpResponseBase:
    """An image that code has made. It says what it is, so that pages can show it."""
    grant = _granted(MediaGrant, token)
    with database_needed():
        found = await in_thread(contents, [grant.sha256], project_id=grant.project_id)
    if (data := found.get(grant.sha256)) is None:
        raise NotFound("This image is not kept any more.")
    kind = sniff(data) or OCTETS
    name = f"image.{kind.rpartition('/')[2]}"
    return file_reply(
        io.BytesIO(data),
        filename=name,
        size=len(data),
        media_type=kind if kind.startswith("image/") else OCTETS,
    )


@router.get("/signed/containers/{token}/{file_id}", include_in_schema=False)
async def get_for_node(request: HttpRequest, token: str, file_id: str) -> HttpResponseBase:
    """A file, for the node that holds its container."""
    grant = _granted(ContainerGrant, token)
    found = await files.container_file(grant.container_id, file_id, project_id=grant.project_id)
    content = await files.content_of(found.blob)
    return file_reply(content, filename=posixpath.basename(found.path), size=found.size)


@router.put("/signed/containers/{token}", include_in_schema=False)
async def put_from_node(request: HttpRequest, token: str, path: str) -> HttpResponseBase:
    """A file that code made. ``version`` stands for its content."""
    grant = _granted(ContainerGrant, token)
    if request.content_type != "application/octet-stream":
        raise InvalidRequest(
            f"The media type is {request.content_type or 'missing'!r}, not "
            "application/octet-stream.",
            code="unsupported_media_type",
            status=415,
        )
    stored = await files.put_made_file(
        request.upload,  # type: ignore[attr-defined]  # ApiRequest has it
        container_id=grant.container_id,
        project_id=grant.project_id,
        path=path,
        epoch=grant.epoch,
    )
    return json_reply(
        {
            "id": stored.id,
            "path": relative(stored.path),
            "size": stored.size,
            "version": stored.sha256,
        }
    )


def _granted(kind: type[G], token: str) -> G:
    try:
        return granted(kind, token)
    except NotGranted as exc:
        raise NotFound("This address is not valid, or not any more.") from exc
