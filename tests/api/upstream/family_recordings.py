"""Plays a recording of a model family to a client: decoder, normaliser, composer, no network.

The request is the recorded one, as a client of ours would have sent it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from apps.api.engine.failures import from_upstream
from apps.api.protocol.composer import Outcome, ResponseComposer
from apps.api.protocol.deltas import Finish, TurnEnd
from apps.api.protocol.events import Event
from apps.api.protocol.ids import new_id
from apps.api.protocol.offers import Offers
from apps.api.protocol.requests import CreateResponse
from apps.api.protocol.response import IncompleteDetails, Status, new_response
from apps.api.upstream.chat import ChatNormalizer
from apps.api.upstream.errors import UpstreamError
from apps.api.upstream.refusal import refused
from apps.api.upstream.sse import SSEDecoder
from tests.programs import ROOT

Json = dict[str, Any]

RECORDINGS = ROOT / "tests/recordings/families"
FAMILIES = sorted(folder.name for folder in RECORDINGS.iterdir() if folder.is_dir())
WAYS = {"stream_by_7_": "by_7", "stream_": "stream", "": "whole"}
"""How the name of a recording begins, and how it was asked for."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded answer. ``case`` names its request, ``way`` how it was asked for."""

    family: str
    case: str
    way: str
    status: int
    path: Path

    def __str__(self) -> str:
        return f"{self.family}-{self.case}-{self.way}"


@dataclass(frozen=True, slots=True)
class Played:
    """What the client gets: a response with its events, or an HTTP error."""

    offers: Offers
    events: list[Event]
    response: Json
    error: str = ""

    @property
    def status(self) -> str:
        if self.error:
            return self.error
        error = self.response["error"]
        return " ".join([self.response["status"], *([error["code"]] if error else [])])

    @property
    def output(self) -> list[Json]:
        items: list[Json] = self.response.get("output", [])
        return items


def recordings() -> Iterator[Recording]:
    """All of them, as the indexes list them."""
    for family in FAMILIES:
        for line in (RECORDINGS / family / "index.jsonl").read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            name = entry["name"].removeprefix(f"{family}/")
            beginning = next(beginning for beginning in WAYS if name.startswith(beginning))
            (path,) = (RECORDINGS / family).glob(f"{name}.response.*")
            case, way = name.removeprefix(beginning), WAYS[beginning]
            yield Recording(family, case, way, entry["status"], path)


@cache
def _requests(family: str) -> dict[str, Json]:
    text = (RECORDINGS / family / "requests.jsonl").read_text(encoding="utf-8")
    return {line["name"]: line["body"] for line in map(json.loads, text.splitlines())}


def play(recording: Recording) -> Played:
    """The recorded answer as our client sees it."""
    sent = _requests(recording.family)[recording.case]
    body = _as_ours(sent)
    offers = Offers(body.declared, body.tool_choice)
    response = new_response(body, id="resp_1", model="tiny", created_at=1)
    composer = ResponseComposer(response, ids=new_id, offers=offers)
    events = composer.start()
    normalizer = ChatNormalizer(limit=sent["max_tokens"])
    try:
        events += _fed(composer, normalizer, recording)
        end = normalizer.finish()
        events += composer.feed([end])
        outcome = _outcome(end)
    except UpstreamError as exc:
        error = from_upstream(exc)
        if recording.status != 200:
            return Played(offers, [], {}, error=f"{error.status} {error.code}")
        outcome = Outcome(status=Status.FAILED, at=2, error=error.detail)
    events += composer.finish(outcome) + composer.announce()
    return Played(offers, events, json.loads(composer.to_json()))


def _as_ours(sent: Json) -> CreateResponse:
    tools = [{"type": "function", **tool["function"]} for tool in sent.get("tools", [])]
    choice = {"tool_choice": sent["tool_choice"]} if "tool_choice" in sent else {}
    return CreateResponse.model_validate({"input": "go", "tools": tools, **choice})


def _fed(
    composer: ResponseComposer, normalizer: ChatNormalizer, recording: Recording
) -> Iterator[Event]:
    data = recording.path.read_bytes()
    if recording.status != 200:
        raise refused(recording.status, orjson.loads(data))
    if recording.way == "whole":
        yield from composer.feed(normalizer.feed_completion(orjson.loads(data)))
        return
    for event in SSEDecoder().feed(data):
        if event != b"[DONE]":
            yield from composer.feed(normalizer.feed(orjson.loads(event)))


def _outcome(end: TurnEnd) -> Outcome:
    if end.finish is Finish.STOP:
        return Outcome(status=Status.COMPLETED, at=2)
    reason = IncompleteDetails(reason="max_output_tokens")
    return Outcome(status=Status.INCOMPLETE, at=2, reason=reason)
