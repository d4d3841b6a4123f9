"""Context to the body of ``POST /v1/chat/completions``, in the dialect that vLLM reads.

Pure. Items become messages here and nowhere else, in a first turn as in a continuation: what the
model saw is what it sees again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from apps.api.protocol import ready_turns
from apps.api.protocol.calls import CALL_OF_OUTPUT, CALLS, OURS, call_key
from apps.api.protocol.context import Context
from apps.api.protocol.grammars import constraint, dictated, instruction
from apps.api.protocol.ids import turn_of
from apps.api.protocol.offers import NO_OFFERS, Offer, Offers
from apps.api.protocol.requests import TextFormatJsonObject, TextFormatJsonSchema
from apps.api.protocol.types import Item, JSONObject
from apps.api.upstream.call_ids import CallIds, CallIdStyle
from apps.api.upstream.contents import content_of, told_by_tool
from apps.api.upstream.past_calls import answered, written


def to_chat_payload(context: Context, *, call_ids: CallIds) -> JSONObject:
    """The request body. Only fields that vLLM knows, only those that have a value."""
    tool = dictated(context.offers)
    payload: JSONObject = {
        "model": context.model,
        "messages": to_messages(
            [*context.items, instruction(tool)] if tool else context.items,
            context.instructions,
            offers=context.offers,
            call_ids=call_ids,
            media=context.media,
            sees_images=context.sees_images,
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
    if tool is not None:
        # The tools are shown, but the answer is no call: it is the input, and nothing else binds it.
        payload |= {"tool_choice": "none", "structured_outputs": constraint(tool)}
        payload.pop("response_format", None)
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


NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9]")

# --- Messages -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Assistant:
    """An assistant message in the making, and the outputs of its calls by their rendered ids:
    their tool messages, and what those cannot hold. ``turn`` is what the ids of its items have in
    common, where they tell."""

    turn: str | None = None
    reasoning: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    calls: list[JSONObject] = field(default_factory=list)
    outputs: dict[str, JSONObject] = field(default_factory=dict)
    pictures: dict[str, list[JSONObject]] = field(default_factory=dict)

    def takes(self, turn: str | None, *, speaks: bool) -> bool:
        """Whether an item of this turn belongs here. Where the ids do not tell, nothing comes after
        outputs, and no text or reasoning after text without calls."""
        if turn is not None and self.turn is not None:
            return turn == self.turn
        has_spoken = bool(self.texts) and not self.calls
        return not self.outputs and not (speaks and has_spoken)

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
    the ids of our items tell; where they do not, after outputs always, after text unless calls
    follow."""

    def __init__(
        self,
        offers: Offers,
        call_ids: CallIds,
        media: Mapping[str, str],
        *,
        sees_images: bool,
    ) -> None:
        self._offers = offers
        self._sees_images = sees_images
        self._media = media
        self.system: list[str] = []
        self._entries: list[_Assistant | JSONObject | orjson.Fragment] = []
        self._turn: _Assistant | None = None
        self._ready: str | None = None  # the last entry, if that was kept
        self._call_ids = call_ids
        self._pending: dict[str, tuple[_Assistant, str, str]] = {}

    def add(self, item: Item) -> None:
        match item["type"]:
            case "message":
                self._message(item, item["role"], item["content"])
            case "agent_message":
                self._message(
                    item, "user", [{"type": "input_text", "text": _text_of(item["content"])}]
                )
            case "reasoning":
                turn = self._assistant(item, speaks=True)
                if text := _text_of(item["content"]):
                    turn.reasoning.append(text)
            case kind if kind in CALLS:
                self._call(item, call_key(item))
            case kind if kind in CALL_OF_OUTPUT:
                self._output(item, call_key(item))
            case "mcp_approval_request":
                self._call(item, item["id"])
                self._output(item, item["id"])  # until something else is known
            case "mcp_approval_response":
                if item["approval_request_id"] in self._pending:
                    self._output(item, item["approval_request_id"])
            case kind if kind in OURS:
                # An approved call was told by its request already.
                key = item.get("approval_request_id")
                if key is None or key not in self._pending:
                    key = item["id"]
                    self._call(item, key)
                self._output(item, key)

    def add_ready(self, turn: Item) -> None:
        self._entries.append(orjson.Fragment(turn["messages"]))
        self._turn, self._ready = None, turn["messages"]

    def messages(self) -> list[Any]:
        system = "\n\n".join(self.system)
        messages: list[Any] = [{"role": "system", "content": system}] if system else []
        for entry in self._entries:
            messages += entry.messages() if isinstance(entry, _Assistant) else (entry,)
        return messages

    def _call(self, item: Item, key: str) -> None:
        turn = self._assistant(item)
        name, arguments = written(item, self._offers)
        call_id = item.get("call_id") or f"call_{NOT_IN_IDS.sub('', item['id'])[-24:]}"
        rendered = self._call_ids.render(call_id, name)
        turn.calls.append(
            {
                "id": rendered,
                "type": "function",
                "function": {"name": name, "arguments": arguments},
            }
        )
        self._pending[key] = turn, rendered, name

    def _output(self, item: Item, key: str) -> None:
        owner, rendered, name = self._pending[key]
        output = answered(item)
        if item["type"] in OURS and not self._sees_images and not isinstance(output, str):
            output = [part for part in output if part["type"] == "input_text"]
        told, pictures = told_by_tool(output, self._media, call=f"{name} ({rendered})")
        owner.outputs[rendered] = {"role": "tool", "tool_call_id": rendered, "content": told}
        if pictures:
            owner.pictures[rendered] = pictures

    def _message(self, item: Item, role: str, content: Sequence[JSONObject]) -> None:
        if role == "assistant":
            turn = self._assistant(item, speaks=True)
            turn.texts.append(_text_of(content))
        elif role == "user":
            self._entries.append({"role": "user", "content": content_of(content, self._media)})
            self._turn = self._ready = None
        else:
            self.system.append(_text_of(content))

    def _assistant(self, item: Item, *, speaks: bool = False) -> _Assistant:
        """The assistant message that the item belongs to: the one that is being made, or a new
        one. ``speaks``: the item is text or reasoning."""
        turn = turn_of(item.get("id", ""))
        if self._ready is not None and turn is None:
            self._reopen(self._ready)
        current = self._turn
        if current is None or not current.takes(turn, speaks=speaks):
            self._turn = current = _Assistant(turn)
            self._entries.append(current)
        self._ready = None
        return current

    def _reopen(self, messages: str) -> None:
        """What comes after a turn that is ready, and whose id does not tell, may belong to its last
        message."""
        *before, last = orjson.loads(f"[{messages}]")
        if last["role"] != "assistant":
            return
        texts, reasoning = [last["content"]], [last.get("reasoning", "")]
        self._turn = _Assistant(None, list(filter(None, reasoning)), list(filter(None, texts)))
        self._entries[-1:] = [*before, self._turn]


def to_messages(
    items: Sequence[Item],
    instructions: str | None,
    *,
    offers: Offers,
    call_ids: CallIds,
    media: Mapping[str, str] | None = None,
    sees_images: bool = True,
) -> list[Any]:
    """Items to chat messages, for orjson to write: those of a turn that is ready are one piece of
    JSON.

    Instructions, system and developer messages become one leading system message, since many
    templates admit no other. Reasoning, text and calls of one turn become one assistant message,
    followed by the calls' outputs in call order, and these by their images. The calls must be
    paired (``check_pairs``).
    """
    transcript = _Transcript(offers, call_ids, media or {}, sees_images=sees_images)
    if instructions:
        transcript.system.append(instructions)
    for item in items:
        add = transcript.add_ready if item["type"] == ready_turns.READY else transcript.add
        add(item)
    return transcript.messages()


def lasting_messages(items: Sequence[Item]) -> str | None:
    """What a turn of these items adds to every later prompt, for ``ready_turn``; None where that
    depends on more than the turn."""
    if not ready_turns.stands_alone(items):
        return None
    messages = to_messages(items, None, offers=NO_OFFERS, call_ids=CallIds(CallIdStyle.PLAIN))
    return orjson.dumps(messages)[1:-1].decode()


TEXTS = ("text", "refusal", "encrypted_content")
"""Where the several kinds of parts have their text."""


def _text_of(parts: Sequence[JSONObject]) -> str:
    """All text of a list of parts; a refusal counts as what the model said."""
    return "".join([part.get(name) or "" for part in parts for name in TEXTS])
