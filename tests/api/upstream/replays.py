"""Plays the bytes of an answer through decoder, normaliser and composer, without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from apps.api.protocol.composer import Outcome
from apps.api.protocol.deltas import Delta, Finish, TurnEnd, TurnUsage
from apps.api.protocol.types import JSONObject
from apps.api.upstream.chat import ChatNormalizer
from apps.api.upstream.errors import UpstreamError
from apps.api.upstream.sse import SSEDecoder
from tests.api.protocol.runs import COMPLETED, FAILED, FILTERED, TOO_LONG, new_composer, run
from tests.event_streams import check_stream, decoded

OUTCOMES = {Finish.STOP: COMPLETED, Finish.LENGTH: TOO_LONG, Finish.CONTENT_FILTER: FILTERED}

Said = tuple[str, ...]
"""An item in short: its kind, its text or name and arguments, ``cut`` when it is incomplete."""


def text(said: str) -> Said:
    return ("text", said)


def thought(said: str) -> Said:
    return ("reasoning", said)


def call(name: str, arguments: str) -> Said:
    return ("call", name, arguments)


def cut(said: Said) -> Said:
    return (*said, "cut")


@dataclass(frozen=True)
class Replayed:
    """What came of an answer: its items, and either its end or its error."""

    said: list[Said]
    finish: Finish | None = None
    usage: TurnUsage | None = None
    error: UpstreamError | None = None


def replay_stream(data: bytes) -> Replayed:
    """The answer is the body of an event stream."""
    chunks = []
    for event in SSEDecoder().feed(data):
        if event == b"[DONE]":
            break
        chunks.append(orjson.loads(event))
    return replay(chunks)


def replay(chunks: Sequence[object]) -> Replayed:
    """The answer is these chunks, one to a read."""
    normalizer = ChatNormalizer()
    batches: list[list[Delta]] = []
    try:
        for chunk in chunks:
            batches += [normalizer.feed(chunk)]
        batches.append([normalizer.finish()])
    except UpstreamError as exc:
        return _composed(batches, exc)
    return _composed(batches, None)


def replay_whole(body: bytes, *, limit: int | None = None) -> Replayed:
    """The answer came without a stream."""
    normalizer = ChatNormalizer(limit=limit)
    try:
        deltas = normalizer.feed_completion(orjson.loads(body))
        return _composed([[*deltas, normalizer.finish()]], None)
    except UpstreamError as exc:
        return _composed([], exc)


def _composed(batches: Sequence[Sequence[Delta]], error: UpstreamError | None) -> Replayed:
    """Compose a response, whose events must be right."""
    last = batches[-1][-1] if batches and batches[-1] else None
    end = last if isinstance(last, TurnEnd) else None
    outcome: Outcome = OUTCOMES[end.finish] if end else FAILED
    composer = new_composer()
    check_stream(decoded(run(composer, batches, outcome)))
    said = [_said(orjson.loads(item.to_json())) for item in composer.output]
    return Replayed(said, end and end.finish, composer.usage, error)


def _said(item: JSONObject) -> Said:
    if item["type"] == "function_call":
        short = call(item["name"], item["arguments"])
    else:
        make = text if item["type"] == "message" else thought
        short = make("".join(part.get("text", part.get("refusal")) for part in item["content"]))
    return short if item["status"] == "completed" else cut(short)
