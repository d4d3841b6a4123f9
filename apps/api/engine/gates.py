"""What may reach the upstream from a client that speaks to it directly."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, NamedTuple

from apps.api.conf import conf
from apps.api.engine.fetching import Fetcher, is_remote
from apps.api.engine.intake import all_of, blaming, image_of
from apps.api.errors import InvalidRequest
from apps.api.protocol.media import MediaProblem
from apps.store.keys import Principal

BARRED = frozenset({
    "kv_transfer_params", "ec_transfer_params", "chat_template", "vllm_xargs", "request_id",
    "session_id", "media_io_kwargs", "mm_processor_kwargs",
})  # fmt: skip
"""Fields that reach into the server: other requests' caches, templates, its internals."""

MEDIA = ("image_url", "video_url", "audio_url")


def check_priority(priority: object, principal: Principal) -> None:
    """Raise InvalidRequest when the caller names a priority and may not."""
    if priority is not None and not principal.may_prioritize:
        raise InvalidRequest(
            "The parameter 'priority' needs an API key that may set priorities.",
            code="parameter_not_permitted",
            param="priority",
            status=403,
        )


async def admit(body: dict[str, Any], principal: Principal) -> None:
    """Make a body fit to be passed on: images that the upstream would fetch from inside the
    network are put into it as data. Raises InvalidRequest, also for barred fields."""
    check_priority(body.get("priority"), principal)
    for name in BARRED & body.keys():
        raise InvalidRequest(
            f"The parameter '{name}' is not open to clients.",
            code="unsupported_parameter",
            param=name,
        )
    links = [link for link in _links(body.get("messages")) if not _may_pass(link.url)]
    if links:
        fetcher = Fetcher()
        await all_of([blaming(link.param, _inline(link, fetcher)) for link in links])


class _Link(NamedTuple):
    """A media URL in chat messages: the object and the member that hold it."""

    param: str
    kind: str
    holder: dict[str, Any]
    member: str

    @property
    def url(self) -> str:
        found: str = self.holder[self.member]
        return found


def _may_pass(url: str) -> bool:
    return url.startswith("data:") or (conf.MEDIA_URLS == "pass" and is_remote(url))


async def _inline(link: _Link, fetcher: Fetcher) -> None:
    if link.kind != "image_url" or not is_remote(link.url):
        raise MediaProblem("unsupported_value", "The media must be sent as a data URL.")
    image = await image_of(link.url, fetcher)
    link.holder[link.member] = await asyncio.to_thread(lambda: image.data_url)


def _links(messages: Any) -> Iterator[_Link]:
    """Every media URL, whichever of its two forms it has."""
    for position, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for place, part in enumerate(content if isinstance(content, list) else ()):
            for kind in MEDIA if isinstance(part, dict) else ():
                value = part.get(kind)
                holder, member = (value, "url") if isinstance(value, dict) else (part, kind)
                if isinstance(holder.get(member), str):
                    param = f"messages[{position}].content[{place}].{kind}"
                    yield _Link(param, kind, holder, member)
