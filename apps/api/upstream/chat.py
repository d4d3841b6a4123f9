"""Chat completion chunks to deltas. Pure; all that is peculiar to vLLM's answers is here.

The quirks it settles: reasoning under two names; blank text between reasoning, calls and answer;
first deltas of calls with and without arguments; nulls where nothing is meant; usage before,
after or without an end; errors inside a stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apps.api.protocol.deltas import (
    Delta,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    TurnEnd,
    TurnUsage,
)
from apps.api.protocol.types import JSONObject
from apps.api.upstream.errors import UpstreamBroke
from apps.api.upstream.refusal import refused

FINISHES = {
    "stop": Finish.STOP,
    "tool_calls": Finish.STOP,  # whether there are calls is seen from the calls
    "function_call": Finish.STOP,
    "length": Finish.LENGTH,
    "content_filter": Finish.CONTENT_FILTER,
}


class ChatNormalizer:
    """One turn's chunks in, deltas out. Call ``finish`` when the stream has ended. ``limit`` is the
    number of tokens that the turn was given, if any. With ``verbatim``, blanks count as text."""

    def __init__(self, *, limit: int | None = None, verbatim: bool = False) -> None:
        self._limit, self._verbatim = limit, verbatim
        self._kind: type | None = None  # of the text that flows: TextDelta, ReasoningDelta or none
        self._first = True  # nothing has come, or only blanks of one kind
        self._held = ""  # blanks that mean nothing unless more text follows
        self._held_logprobs: list[JSONObject] = []
        self._held_kind: type | None = None
        self._calls: dict[object, int] = {}  # upstream's index -> ours
        self._call_ids: dict[object, object] = {}
        self._count = 0
        self._open_call: int | None = None
        self._finish: Finish | None = None
        self._usage: TurnUsage | None = None

    def feed(self, chunk: Any) -> list[Delta]:
        """The deltas of one chunk. Raises UpstreamRefused for an error in the stream and
        UpstreamBroke for what is not a chunk."""
        deltas: list[Delta] = []
        try:
            if choices := chunk["choices"]:
                choice = choices[0]
                self._read(choice["delta"], deltas)
                if logprobs := choice.get("logprobs"):
                    self._attach(logprobs["content"] or [], deltas)
                if reason := choice.get("finish_reason"):
                    self._end(reason)
            if usage := chunk.get("usage"):
                self._usage = _usage(usage)
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as exc:
            if isinstance(chunk, dict) and "error" in chunk:
                raise refused(None, chunk) from None
            raise UpstreamBroke("The model server sent something else than a completion.") from exc
        return deltas

    def feed_completion(self, completion: JSONObject) -> list[Delta]:
        """The deltas of an answer that was not streamed: its message is one big delta."""
        try:
            choice, usage = completion["choices"][0], completion.get("usage")
            message, reason = choice["message"], choice["finish_reason"]
            if message.get("tool_calls") and self._is_spent(usage):
                reason = "length"
        except (KeyError, TypeError, AttributeError, IndexError):
            return self.feed(completion)  # which says what is wrong with it
        return self.feed({"choices": [{"delta": message, "finish_reason": reason}], "usage": usage})

    def _is_spent(self, usage: Any) -> bool:
        """Whether the limit ended the turn. Where calls are not streamed, most parsers make a
        whole call of one that was cut, and say nothing of it."""
        counted = _usage(usage)
        return (
            self._limit is not None
            and counted is not None
            and (counted.output_tokens >= self._limit)
        )

    def finish(self) -> TurnEnd:
        """The end of the turn. Raises UpstreamBroke when the stream ended before it."""
        if self._finish is None:
            raise UpstreamBroke("The model server's answer was cut off.")
        return TurnEnd(self._finish, self._usage)

    def _read(self, delta: Mapping[str, Any], deltas: list[Delta]) -> None:
        """An unstreamed message has all of these, in this order; a chunk mostly one."""
        if text := delta.get("reasoning") or delta.get("reasoning_content"):
            self._text(ReasoningDelta, text, deltas)
        if text := delta.get("content"):
            self._text(TextDelta, text, deltas)
        if text := delta.get("refusal"):
            self._kind, self._first, self._open_call = None, False, None
            deltas.append(RefusalDelta(_string(text)))
        if calls := delta.get("tool_calls"):
            for position, call in enumerate(calls):
                self._call(call, position, deltas)

    def _text(
        self, kind: type[TextDelta] | type[ReasoningDelta], text: str, deltas: list[Delta]
    ) -> None:
        text = _string(text)
        if self._kind is not kind and not (self._verbatim and kind is TextDelta):
            text = self._opening(kind, text)
            if not text:
                return
        deltas.append(kind(text))

    def _opening(self, kind: type[TextDelta] | type[ReasoningDelta], text: str) -> str:
        """What a new stretch of text begins with, or nothing as long as it is blank.

        Templates put blank lines between reasoning, answer and calls: those are no answer. Blanks
        before everything else belong to it.
        """
        if self._held and self._held_kind is not kind:
            self._held, self._first = "", False
        text = self._held + text
        if kind is TextDelta and not self._first:
            text = text.lstrip("\n")
        if not text or text.isspace():
            self._held, self._held_kind = text, kind
            return ""
        self._kind, self._held, self._first = kind, "", False
        self._open_call = None
        return text

    def _attach(self, entries: list[JSONObject], deltas: list[Delta]) -> None:
        """Give the logprobs of one chunk to its text. Tokens that are no text of the answer, such
        as markers and reasoning, have some too, which nobody asked for."""
        last = deltas[-1] if deltas else None
        if isinstance(last, TextDelta):
            entries = self._held_logprobs + entries
            while entries and entries[0]["token"].isspace() and not last.text[:1].isspace():
                entries = entries[1:]  # blank lines that were no answer
            deltas[-1] = last._replace(logprobs=entries)
            self._held_logprobs = []
        elif self._first and self._held:
            self._held_logprobs += entries

    def _call(self, call: Mapping[str, Any], position: int, deltas: list[Delta]) -> None:
        """Calls are told apart by index; the id may be repeated, null or empty later on."""
        self._kind, self._held, self._first = None, "", False
        index, function = call.get("index", position), call.get("function") or {}
        name, call_id = function.get("name"), call.get("id")
        other = bool(call_id) and self._call_ids.get(index) not in (None, call_id)
        if index not in self._calls or (name and other):
            if not name:
                raise ValueError("a call without a name")
            self._calls[index] = self._open_call = self._count
            self._count += 1
            self._call_ids[index] = call_id
            deltas.append(ToolCallStart(self._calls[index], _string(name)))
        if arguments := function.get("arguments"):
            if self._calls[index] != self._open_call:
                raise ValueError("arguments for a call that something else followed")
            deltas.append(ToolCallArguments(self._calls[index], _string(arguments)))

    def _end(self, reason: str) -> None:
        if reason not in FINISHES:
            raise UpstreamBroke(f"The model server ended its answer: {str(reason)[:64]}.")
        self._finish = FINISHES[reason]


def _string(value: Any) -> str:
    """What is no text must fail here: later it would be our fault."""
    if type(value) is not str:
        raise TypeError(f"a text is a {type(value).__name__}")
    return value


MOST_TOKENS = 2 * 10**7
"""Of one turn; with as many turns as a response may have, the sum fits every database."""


def _usage(usage: Any) -> TurnUsage | None:
    """What was counted; None when that cannot be. An answer is no worse for a broken count.

    Detail objects may be missing or null.
    """
    if not isinstance(usage, dict):
        return None
    prompt, completion = (
        details if isinstance(details := usage.get(name), dict) else {}
        for name in ("prompt_tokens_details", "completion_tokens_details")
    )
    counts = (
        usage.get("prompt_tokens"),
        prompt.get("cached_tokens"),
        usage.get("completion_tokens"),
        completion.get("reasoning_tokens"),
    )
    if not all(count is None or _is_count(count) for count in counts):
        return None
    return TurnUsage(*(count or 0 for count in counts))


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= MOST_TOKENS
