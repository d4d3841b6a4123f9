"""Chunks of chat completions in short, and what a stream of them says."""

from __future__ import annotations

from typing import Any

from apps.api.upstream.errors import UpstreamBroke
from tests.api.upstream.replays import Replayed, Said, replay

Json = dict[str, Any]

ROLE = {"role": "assistant", "content": ""}
STOP: Json = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
LENGTH: Json = {"choices": [{"delta": {}, "finish_reason": "length"}]}


def chunk(finish: str | None = None, **delta: Any) -> Json:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def piece(index: int, arguments: str | None = None, **more: Any) -> Json:
    """One element of ``tool_calls``; ``name`` goes where it belongs."""
    function = {"name": more.pop("name", None), "arguments": arguments}
    known = {key: value for key, value in function.items() if value is not None}
    return {"index": index, "function": known, **more}


def calls(*pieces: Json, finish: str | None = None) -> Json:
    return chunk(finish, content=None, tool_calls=list(pieces))


def said(*chunks: Json) -> list[Said]:
    """The items of a stream that ends well."""
    replayed = replay([chunk(**ROLE), *chunks])
    assert replayed.error is None
    return replayed.said


def broken(*chunks: object) -> Replayed:
    replayed = replay(chunks)
    assert type(replayed.error) is UpstreamBroke
    return replayed
