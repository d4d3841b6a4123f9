"""Asks vLLM how many tokens a context has. Other servers may not know the question."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from apps.api.conf import conf
from apps.api.protocol.context import Context
from apps.api.protocol.types import JSONObject
from apps.api.upstream.call_ids import CallIds, style_for
from apps.api.upstream.payload import to_chat_payload
from apps.api.upstream.questions import ask, unreadable

TIME_LIMIT = 30.0
ASKED = ("model", "messages", "tools", "chat_template_kwargs", "add_generation_prompt")


class TokenCount(NamedTuple):
    """Tokens of the prompt, and how many the model's context holds."""

    prompt: int
    limit: int


async def count_tokens(context: Context) -> TokenCount:
    """Render the context as a turn would, and count. Raises UpstreamError, UpstreamRefused with
    status 404 where there is no such endpoint."""
    question = await asyncio.to_thread(_question, context) if context.media else _question(context)
    what = "token count"
    answer = await ask("POST", "/tokenize", what, limit=TIME_LIMIT, body=question, root=True)
    try:
        return TokenCount(answer["count"], answer["max_model_len"])
    except (KeyError, TypeError) as exc:
        raise unreadable(what) from exc


def _question(context: Context) -> JSONObject:
    call_ids = CallIds(style_for(context.model, conf.CALL_ID_STYLE))
    payload = to_chat_payload(context, call_ids=call_ids)
    return {name: payload[name] for name in ASKED if name in payload}
