"""The model's answer: a message of text and refusal parts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import unquote

from pydantic import Field

from apps.api.protocol.deltas import RefusalDelta, TextDelta
from apps.api.protocol.items.base import (
    ContentPartAdded,
    ContentPartDone,
    ContentPartEvent,
    HotEvent,
    ItemEvent,
    ItemStatus,
    OutputItem,
    OutputItemAdded,
    OutputItemDone,
    Part,
    Place,
    hot_template,
)
from apps.api.protocol.results import CitableFile
from apps.api.protocol.types import JSONObject


class OutputText(Part):
    type: Literal["output_text"] = "output_text"
    annotations: list[Any] = Field(default_factory=list)
    logprobs: list[Any] = Field(default_factory=list)
    text: str = ""


class Refusal(Part):
    type: Literal["refusal"] = "refusal"
    refusal: str = ""


class Message(OutputItem):
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    content: list[OutputText | Refusal] = Field(default_factory=list)


class OutputTextDelta(ContentPartEvent):
    type: Literal["response.output_text.delta"] = "response.output_text.delta"
    delta: str
    logprobs: list[Any] = Field(default_factory=list)


class OutputTextDone(ContentPartEvent):
    type: Literal["response.output_text.done"] = "response.output_text.done"
    text: str
    logprobs: list[Any] = Field(default_factory=list)


class AnnotationAdded(ContentPartEvent):
    type: Literal["response.output_text.annotation.added"] = "response.output_text.annotation.added"
    annotation_index: int
    annotation: JSONObject


class RefusalDeltaEvent(ContentPartEvent):
    type: Literal["response.refusal.delta"] = "response.refusal.delta"
    delta: str


class RefusalDone(ContentPartEvent):
    type: Literal["response.refusal.done"] = "response.refusal.done"
    refusal: str


class MessageBuilder:
    """Grows a message part by part; a change between text and refusal begins a new part. Links to
    ``files``, by their paths, become citations. Its events are rendered before it is told more: they
    have the message itself, which grows."""

    def __init__(self, place: Place, files: Mapping[str, CitableFile] | None = None) -> None:
        self._place = place
        self._files = files or {}
        self._item = Message(id=place.item_id)
        self._part: type[Part] | None = None
        self._pieces: list[str] = []
        self._logprobs: list[JSONObject] = []
        self._type, self._head, self._tail = "", b"", b""

    def open(self) -> Sequence[ItemEvent]:
        return [OutputItemAdded(output_index=self._place.output_index, item=self._item)]

    def feed(self, delta: TextDelta | RefusalDelta) -> Sequence[ItemEvent]:
        kind = OutputText if type(delta) is TextDelta else Refusal
        before = [] if self._part is kind else self._change_part(kind)
        self._pieces.append(delta.text)
        event: ItemEvent = HotEvent(self._type, self._head, delta.text, self._tail)
        if isinstance(delta, TextDelta) and delta.logprobs:
            event = self._with_logprobs(delta.text, delta.logprobs)
        return [*before, event] if before else (event,)

    def close(self, status: ItemStatus) -> Sequence[ItemEvent]:
        events = (
            [] if self._part or status is not ItemStatus.COMPLETED else self._open_part(OutputText)
        )
        events += self._close_part()
        self._item.status = status
        return [*events, OutputItemDone(output_index=self._place.output_index, item=self._item)]

    def snapshot(self) -> Message:
        return self._item

    def _with_logprobs(self, text: str, logprobs: list[JSONObject]) -> ItemEvent:
        self._logprobs += logprobs
        where = self._place.part(len(self._item.content))
        return OutputTextDelta(**where, delta=text, logprobs=_brief(logprobs))

    def _change_part(self, kind: type[OutputText] | type[Refusal]) -> list[ItemEvent]:
        return self._close_part() + self._open_part(kind)

    def _open_part(self, kind: type[OutputText] | type[Refusal]) -> list[ItemEvent]:
        where = self._place.part(len(self._item.content))
        self._part = kind
        event: ContentPartEvent
        if kind is OutputText:
            event = OutputTextDelta(**where, delta="")
            self._head, self._tail = hot_template(event, logprobs=b"[]")
        else:
            event = RefusalDeltaEvent(**where, delta="")
            self._head, self._tail = hot_template(event)
        self._type = event.type
        return [ContentPartAdded(**where, part=kind())]

    def _close_part(self) -> list[ItemEvent]:
        if self._part is None:
            return []
        where = self._place.part(len(self._item.content))
        text, self._pieces = "".join(self._pieces), []
        if self._part is OutputText:
            logprobs, self._logprobs = self._logprobs, []
            cited = citations(text, self._files) if self._files else []
            part = OutputText(text=text, annotations=cited, logprobs=logprobs)
            done = OutputTextDone(**where, text=text, logprobs=_brief(logprobs))
            self._part = None
            self._item.content.append(part)
            added = [
                AnnotationAdded(**where, annotation_index=index, annotation=annotation)
                for index, annotation in enumerate(cited)
            ]
            return [*added, done, ContentPartDone(**where, part=part)]
        refused = Refusal(refusal=text)
        self._part = None
        self._item.content.append(refused)
        return [RefusalDone(**where, refusal=text), ContentPartDone(**where, part=refused)]


LINK = re.compile(r"sandbox:(/[^\s()<>\[\]\"'`]+)")
GOES_ON = re.compile(r"[\w/%-]|\.\w")
"""What shows that a path does not end there."""


def citations(text: str, files: Mapping[str, CitableFile]) -> list[JSONObject]:
    """The annotations of all links to these files, by their places in the text."""
    found: list[JSONObject] = []
    for link in LINK.finditer(text):
        if ends := _ends(link, files):
            end = max(ends)
            file = ends[end]
            annotation = {
                "type": "container_file_citation",
                "container_id": file.container_id,
                "end_index": end,
                "file_id": file.file_id,
                "filename": file.filename,
                "start_index": link.start(),
            }
            found.append(annotation)
    return found


def _ends(link: re.Match[str], files: Mapping[str, CitableFile]) -> dict[int, CitableFile]:
    """The files that the link may mean, by where it ends then: it has the path as URLs have it,
    or as it is, with the blanks and brackets of the name."""
    text, start = link.string, link.start(1)
    ends = {
        start + len(path): file
        for path, file in files.items()
        if text.startswith(path, start) and not GOES_ON.match(text, start + len(path))
    }
    for path in (link[1], link[1].rstrip(".,;:!?")):
        if (named := files.get(unquote(path))) is not None:
            ends[start + len(path)] = named
    return ends


def _brief(logprobs: list[JSONObject]) -> list[JSONObject]:
    """The entries as events have them: the bytes of tokens are in the part alone."""
    return [
        {
            "token": entry["token"],
            "logprob": entry["logprob"],
            "top_logprobs": [
                {"token": other["token"], "logprob": other["logprob"]}
                for other in entry["top_logprobs"]
            ],
        }
        for entry in logprobs
    ]
