"""Uploads: forms with a file, and the answer that gives a file back."""

from __future__ import annotations

import asyncio
from typing import IO, Any, NamedTuple
from urllib.parse import quote

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, StreamingHttpResponse  # noqa: TID251 - bytes, no events
from django.http.multipartparser import MultiPartParserError

from apps.api.errors import InvalidRequest
from apps.api.protocol.media_types import OCTETS
from apps.store.blobs import pieces


class Form(NamedTuple):
    """The fields of a form, and its one file."""

    fields: dict[str, str]
    file: UploadedFile[Any] | None


async def read_form(request: HttpRequest) -> Form:
    """Parse a form, off the loop. Raises InvalidRequest."""
    return await asyncio.to_thread(_read, request)


def _read(request: HttpRequest) -> Form:
    if request.content_type != "multipart/form-data":
        raise InvalidRequest(
            f"The media type is {request.content_type or 'missing'!r}, not multipart/form-data.",
            code="unsupported_media_type",
            status=415,
        )
    try:
        fields = {name: str(request.POST[name]) for name in request.POST}
        return Form(fields, request.FILES.get("file"))
    except (MultiPartParserError, RequestDataTooBig, SuspiciousOperation) as exc:
        raise InvalidRequest("The form is malformed.", code="bad_request") from exc


def file_reply(
    content: IO[bytes], *, filename: str, size: int, media_type: str = OCTETS
) -> StreamingHttpResponse:
    """A file as an attachment: browsers neither open it nor guess what it is."""
    reply = StreamingHttpResponse(pieces(content), content_type=media_type)
    reply["Content-Length"] = str(size)
    reply["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(filename, safe='')}"
    reply["X-Content-Type-Options"] = "nosniff"
    reply["Content-Security-Policy"] = "sandbox; default-src 'none'"
    reply["Cache-Control"] = "private, no-store"
    return reply
