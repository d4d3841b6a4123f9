"""How states, lengths of time and links look on every page. Whatever it is given gets escaped."""

from __future__ import annotations

from datetime import datetime

from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

NOTHING = "-"


def badge(tone: str, text: str) -> SafeString:
    """A coloured word. The tones are in ``store/admin.css``."""
    return format_html('<span class="gw-badge gw-{}">{}</span>', tone, text)


def seconds(milliseconds: int | None) -> str:
    """A length of time in two or three digits: 340 ms, 2.1 s, 3m 20s."""
    if milliseconds is None:
        return NOTHING
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    minutes, rest = divmod(milliseconds // 1000, 60)
    return f"{minutes}m {rest}s"


def moment(time: datetime | None, *, precise: bool = False) -> str:
    """A moment in UTC, as logs write it."""
    if time is None:
        return NOTHING
    return f"{time:%Y-%m-%d %H:%M:%S}Z" if precise else f"{time:%Y-%m-%d %H:%M}Z"


def response_url(response_id: str) -> str:
    return reverse("admin:store_response_change", args=[quote(response_id)])


def response_link(response_id: str) -> SafeString:
    return format_html('<a href="{}">{}</a>', response_url(response_id), response_id)
