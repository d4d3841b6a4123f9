"""``truncation: auto``: a prompt that is too long loses its oldest items and is sent again."""

from __future__ import annotations

from dataclasses import replace

import structlog

from apps.api.protocol.context import Context
from apps.api.protocol.truncation import without_oldest
from apps.api.upstream.client import ChatUpstream, Turn
from apps.api.upstream.errors import UpstreamError, UpstreamRefused
from apps.api.upstream.tokens import count_tokens

log = structlog.stdlib.get_logger(__name__)

TRIES = 3
BLIND = 0.5
"""What is kept when the upstream cannot count."""
RESERVE = 0.9
"""Of the context that is free of the answer: estimates by text length are not exact."""


class TruncatingUpstream(ChatUpstream):
    """Chat completions that shorten the context as often as needed, but never a call from its
    output. What cannot be shortened fails as it would have."""

    async def open(self, context: Context, *, request_id: str, deadline: float) -> Turn:
        for _ in range(TRIES):
            try:
                return await super().open(context, request_id=request_id, deadline=deadline)
            except UpstreamRefused as exc:
                if not exc.is_context_overflow:
                    raise
                keep = await _share(context)
                items = without_oldest(context.items, keep=keep, media=context.media)
                if items is None:
                    raise
                dropped = len(context.items) - len(items)
                log.info("history truncated", request_id=request_id, dropped=dropped)
                context = replace(context, items=items)
        return await super().open(context, request_id=request_id, deadline=deadline)


async def _share(context: Context) -> float:
    """How much of the text may stay."""
    try:
        tokens = await count_tokens(context)
    except UpstreamError:
        return BLIND
    room = tokens.limit - (context.max_output_tokens or tokens.limit // 8)
    return min(BLIND * 1.8, max(0.0, room / max(tokens.prompt, 1)) * RESERVE)
