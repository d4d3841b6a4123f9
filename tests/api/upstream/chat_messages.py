"""Items in short, and the chat messages that they become."""

from __future__ import annotations

from typing import Any

import orjson

from apps.api.protocol.input_items import ItemReference, to_items
from apps.api.protocol.offers import Offers
from apps.api.upstream.call_ids import CallIds, CallIdStyle
from apps.api.upstream.payload import to_messages
from tests.api.protocol.bodies import accept
from tests.api.protocol.runs import counting_ids

Json = dict[str, Any]


def messages_of(
    *items: Json, instructions: str | None = None, style: CallIdStyle = CallIdStyle.PLAIN
) -> list[Json]:
    """The messages of an ``input``; each is something that JSON can say."""
    kept = to_items(accept({"input": [*items]}).input, counting_ids())
    wanted = [item for item in kept if not isinstance(item, ItemReference)]
    messages = to_messages(wanted, instructions, offers=Offers(()), call_ids=CallIds(style))
    assert orjson.loads(orjson.dumps(messages)) == messages
    return messages


def said(role: str, text: str) -> Json:
    return {"role": role, "content": text}


def thought(text: str) -> Json:
    return {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text",
                                                             "text": text}]}  # fmt: skip


def call(call_id: str, arguments: str = "{}", name: str = "f") -> Json:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def output(call_id: str, text: str = "ok") -> Json:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def asked(call_id: str, arguments: str = "{}", name: str = "f") -> Json:
    """A call as an assistant message has it."""
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def told(call_id: str, text: str = "ok") -> Json:
    return {"role": "tool", "tool_call_id": call_id, "content": text}


def calling(*calls: Json, **more: Any) -> Json:
    return {"role": "assistant", **more, "tool_calls": [*calls]}


HI, HELLO = said("user", "Hi"), said("assistant", "Hello!")
