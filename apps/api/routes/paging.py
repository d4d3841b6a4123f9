"""Lists: their query parameters and their form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import orjson
from django.http import HttpResponse
from ninja import Schema
from pydantic import Field

from apps.api.protocol.params import WITHOUT_NUL
from apps.api.replies import json_reply


class Page(Schema):
    """Which part of a list. The newest come first unless asked otherwise."""

    after: Annotated[str, Field(pattern=WITHOUT_NUL)] | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"

    @property
    def newest_first(self) -> bool:
        return self.order == "desc"


def list_reply(
    data: Iterable[bytes], *, first_id: str | None, last_id: str | None, has_more: bool
) -> HttpResponse:
    """A list object. Clients page by its ``last_id`` and ``has_more``."""
    tail = orjson.dumps({"first_id": first_id, "last_id": last_id, "has_more": has_more})
    return json_reply(b'{"object":"list","data":[%b],%b' % (b",".join(data), tail[1:]))
