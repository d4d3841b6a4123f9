"""Context to the body of ``POST /v1/chat/completions``, in the dialect that vLLM reads.

Pure. Items become messages here and nowhere else, in a first turn as in a continuation: what the
model saw is what it sees again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from apps.api.protocol.calls import CALL_OF_OUTPUT, CALLS, call_key
from apps.api.protocol.context import Context
from apps.api.protocol.offers import Offer, Offers
from apps.api.protocol.requests import TextFormatJsonObject, TextFormatJsonSchema
from apps.api.protocol.types import Item, JSONObject
from apps.api.upstream.call_ids import CallIds
from apps.api.upstream.contents import content_of, told_by_tool
from apps.api.upstream.past_calls import answered, written


def to_chat_payload(context: Context, *, call_ids: CallIds) -> JSONObject:
    """The request body. Only fields that vLLM knows, only those that have a value."""
    payload: JSONObject = {
        "model": context.model,
        "messages": to_messages(
            context.items,
            context.instructions,
            offers=context.offers,
            call_ids=call_ids,
            media=context.media,
        ),
        "stream": context.stream,
    }
    if context.stream:
        payload["stream_options"] = {"include_usage": True}
    if context.top_logprobs is not None:
        payload |= {"logprobs": True, "top_logprobs": context.top_logprobs}
    optional = {
        "temperature": context.temperature,
        "top_p": context.top_p,
        "max_completion_tokens": context.max_output_tokens,
        "reasoning_effort": context.reasoning_effort,
        "response_format": _response_format(context),
    }
    payload |= {name: value for name, value in optional.items() if value is not None}
    payload |= context.extras
    if context.offers.sent:
        payload["tools"] = [_tool(offer) for offer in context.offers.sent]
        payload["tool_choice"] = _tool_choice(context.offers)
        payload["parallel_tool_calls"] = context.parallel_tool_calls
    return payload


def _tool(offer: Offer) -> JSONObject:
    function: JSONObject = {"name": offer.name, "parameters": offer.parameters}
    if offer.description is not None:
        function["description"] = offer.description
    if offer.strict is not None:
        function["strict"] = offer.strict
    return {"type": "function", "function": function}


def _tool_choice(offers: Offers) -> str | JSONObject:
    if offers.forced is None:
        return offers.mode
    return {"type": "function", "function": {"name": offers.forced.name}}


def _response_format(context: Context) -> JSONObject | None:
    wanted = context.text_format
    if isinstance(wanted, TextFormatJsonObject):
        return {"type": "json_object"}
    if isinstance(wanted, TextFormatJsonSchema):
        schema = wanted.model_dump(by_alias=True, exclude_none=True, exclude={"type"})
        return {"type": "json_schema", "json_schema": schema}
    return None


# --- Messages -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Assistant:
    """An assistant message in the making, and the outputs of its calls by their rendered ids:
    their tool messages, and what those cannot hold."""

    reasoning: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    calls: list[JSONObject] = field(default_factory=list)
    outputs: dict[str, JSONObject] = field(default_factory=dict)
    pictures: dict[str, list[JSONObject]] = field(default_factory=dict)

    def messages(self) -> Iterator[JSONObject]:
        """None when all that there was is reasoning that nobody can read."""
        if not (self.texts or self.reasoning or self.calls):
            return
        message: JSONObject = {"role": "assistant"}
        if self.texts or not self.calls:
            message["content"] = "".join(self.texts)
        if self.reasoning:
            message["reasoning"] = "\n".join(self.reasoning)
        if self.calls:
            message["tool_calls"] = self.calls
        yield message
        for call in self.calls:
            yield self.outputs[call["id"]]
        if self.pictures:
            parts = [part for call in self.calls for part in self.pictures.get(call["id"], ())]
            yield {"role": "user", "content": parts}


class _Transcript:
    """Collects items into messages. Knows where one assistant message ends and the next begins:
    after outputs always, after text unless calls follow."""

    def __init__(self, offers: Offers, call_ids: CallIds, media: Mapping[str, str]) -> None:
        self._offers = offers
        self._media = media
        self.system: list[str] = []
        self._entries: list[_Assistant | JSONObject] = []
        self._turn: _Assistant | None = None
        self._call_ids = call_ids
        self._pending: dict[str, tuple[_Assistant, str, str]] = {}

    def add(self, item: Item) -> None:
        match item["type"]:
            case "message":
                self._message(item["role"], item["content"])
            case "agent_message":
                self._message("user", [{"type": "input_text", "text": _text_of(item["content"])}])
            case "reasoning":
                turn = self._assistant(new=self._has_spoken)
                if text := _text_of(item["content"]):
                    turn.reasoning.append(text)
            case kind if kind in CALLS:
                turn = self._assistant()
                name, arguments = written(item, self._offers)
                rendered = self._call_ids.render(item["call_id"], name)
                turn.calls.append(
                    {
                        "id": rendered,
                        "type": "function",
                        "function": {"name": name, "arguments": arguments},
                    }
                )
                self._pending[call_key(item)] = turn, rendered, name
            case kind if kind in CALL_OF_OUTPUT:
                self._output(item)

    def messages(self) -> list[JSONObject]:
        system = "\n\n".join(self.system)
        messages = [{"role": "system", "content": system}] if system else []
        for entry in self._entries:
            messages += entry.messages() if isinstance(entry, _Assistant) else (entry,)
        return messages

    def _output(self, item: Item) -> None:
        owner, rendered, name = self._pending.pop(call_key(item))
        told, pictures = told_by_tool(answered(item), self._media, call=f"{name} ({rendered})")
        owner.outputs[rendered] = {"role": "tool", "tool_call_id": rendered, "content": told}
        if pictures:
            owner.pictures[rendered] = pictures

    def _message(self, role: str, content: Sequence[JSONObject]) -> None:
        if role == "assistant":
            turn = self._assistant(new=self._has_spoken)
            turn.texts.append(_text_of(content))
        elif role == "user":
            self._entries.append({"role": "user", "content": content_of(content, self._media)})
            self._turn = None
        else:
            self.system.append(_text_of(content))

    @property
    def _has_spoken(self) -> bool:
        """The assistant message has its text and no calls: what comes next is another one."""
        return self._turn is not None and bool(self._turn.texts) and not self._turn.calls

    def _assistant(self, *, new: bool = False) -> _Assistant:
        """The assistant message that is being made, or a new one."""
        if new or self._turn is None or self._turn.outputs:
            self._turn = _Assistant()
            self._entries.append(self._turn)
        return self._turn


def to_messages(
    items: Sequence[Item],
    instructions: str | None,
    *,
    offers: Offers,
    call_ids: CallIds,
    media: Mapping[str, str] | None = None,
) -> list[JSONObject]:
    """Items to chat messages.

    Instructions, system and developer messages become one leading system message, since many
    templates admit no other. Reasoning, text and calls of one turn become one assistant message,
    followed by the calls' outputs in call order, and these by their images. The calls must be
    paired (``check_pairs``).
    """
    transcript = _Transcript(offers, call_ids, media or {})
    if instructions:
        transcript.system.append(instructions)
    for item in items:
        transcript.add(item)
    return transcript.messages()


TEXTS = ("text", "refusal", "encrypted_content")
"""Where the several kinds of parts have their text."""


def _text_of(parts: Sequence[JSONObject]) -> str:
    """All text of a list of parts; a refusal counts as what the model said."""
    return "".join(part.get(name) or "" for part in parts for name in TEXTS)
