"""A scripted reply as vLLM 0.32's bytes: the frames of a stream, or one body; no I/O."""

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Final

from .replies import CallArguments, CallStart, Delta, Json, Part, Pause, Raw, Reply, Usage

FINGERPRINT: Final = "vllm-0.32.0-0d805203"
DONE: Final = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """One reply to one request."""

    reply: Reply
    request: Json
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(8)}")
    created: int = field(default_factory=lambda: int(time.time()))

    def stream(self) -> list[bytes | Pause]:
        options, parts = self.reply.options, self.reply.parts
        if options.get("bare"):
            return [part.data if isinstance(part, Raw) else part for part in self._plain(parts)]
        last = max((i for i, part in enumerate(parts) if not isinstance(part, Pause)), default=-1)
        together = bool(options.get("finish_with_last"))
        error = options.get("error_frame")
        # What fails before the first token has no opening chunk either.
        opening = [self._opening()] if parts or error is None else []
        frames = [*opening, *self._deltas(last if together else -1)]
        if error is not None:
            frames.append(b"data: " + json.dumps(error).encode() + b"\n\n")
        elif not options.get("no_finish") and not together:
            frames.append(self._chunk({}, self._tokens(), finish=True))
        if self._stream_option("include_usage") and not (
            error is not None or options.get("no_usage")
        ):
            frames.append(self._totals())
        return frames if options.get("no_done") else [*frames, DONE]

    def body(self) -> bytes:
        options = self.reply.options
        if plain := [part.data for part in self.reply.parts if isinstance(part, Raw)]:
            return b"".join(plain)
        message: Json = {
            "role": "assistant",
            "content": self._content(),
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
        }
        if calls := self._calls():
            message["tool_calls"] = calls
        message["reasoning"] = self._said("reasoning")
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": self._finish_reason(),
            "stop_reason": options.get("stop_reason"),
            "token_ids": None,
            "routed_experts": None,
        }
        return encode(
            self._head("chat.completion")
            | {
                "choices": [choice],
                "service_tier": None,
                "system_fingerprint": FINGERPRINT,
                "usage": self._whole_usage(),
                "prompt_logprobs": None,
                "prompt_token_ids": None,
                "prompt_text": None,
                "kv_transfer_params": None,
                "ec_transfer_params": None,
                "metrics": None,
            }
        )

    # Frames

    def _head(self, kind: str) -> Json:
        model = self.request.get("model") or "tiny"
        return {"id": self.id, "object": kind, "created": self.created, "model": model}

    def _opening(self) -> bytes:
        delta = {"role": "assistant", "content": ""}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        return self._data([choice], 0, {"prompt_token_ids": None, "prompt_text": None})

    def _deltas(self, finishing: int) -> list[bytes | Pause]:
        frames: list[bytes | Pause] = []
        index, tokens = -1, 0
        for position, part in enumerate(self.reply.parts):
            if isinstance(part, Pause):
                frames.append(part)
            elif isinstance(part, Raw):
                frames.append(part.data)
            else:
                index += isinstance(part, CallStart)
                tokens += 1
                delta = _delta(part, index)
                frames.append(self._chunk(delta, tokens, finish=position == finishing))
        return frames

    def _chunk(self, delta: Json, tokens: int, *, finish: bool = False) -> bytes:
        choice: Json = {"index": 0, "delta": delta, "logprobs": None}
        choice["finish_reason"] = self._finish_reason() if finish else None
        if finish:
            choice["stop_reason"] = self.reply.options.get("stop_reason")
        choice["token_ids"] = None
        signed = finish and not self._stream_option("include_usage")
        return self._data([choice], tokens, {"system_fingerprint": FINGERPRINT} if signed else {})

    def _totals(self) -> bytes:
        totals = {"usage": self._usage(self._tokens()), "system_fingerprint": FINGERPRINT}
        return data(self._head("chat.completion.chunk") | {"choices": []} | totals)

    def _data(self, choices: list[Json], tokens: int, extra: Json) -> bytes:
        chunk = self._head("chat.completion.chunk") | {"choices": choices}
        if self._stream_option("continuous_usage_stats"):
            chunk["usage"] = self._usage(tokens)
        return data(chunk | extra)

    # What the parts amount to

    def _said(self, channel: str) -> str | None:
        deltas = [p for p in self.reply.parts if isinstance(p, Delta) and p.channel == channel]
        return "".join(delta.text for delta in deltas) if deltas else None

    def _content(self) -> str | None:
        if (said := self._said("content")) is not None:
            return said
        return "" if self.request.get("tool_choice", "auto") not in ("auto", None) else None

    def _calls(self) -> list[Json]:
        calls: list[Json] = []
        for part in self.reply.parts:
            if isinstance(part, CallStart):
                function = {"name": part.name, "arguments": ""}
                calls.append({"id": part.id, "type": "function", "function": function})
            elif isinstance(part, CallArguments):
                calls[-1]["function"]["arguments"] += part.text
        return calls

    def _finish_reason(self) -> str:
        named = isinstance(self.request.get("tool_choice"), dict)
        usual = "tool_calls" if self._calls() and not named else "stop"
        return self.reply.options.get("finish_reason", usual)

    def _tokens(self) -> int:
        """One for each delta, one for the end."""
        deltas = sum(not isinstance(part, Pause | Raw) for part in self.reply.parts)
        return deltas + (not self.reply.options.get("finish_with_last"))

    def _usage(self, tokens: int) -> Json:
        usage = self.reply.options.get("usage", Usage())
        deltas = [part for part in self.reply.parts if isinstance(part, Delta)]
        reasoning = sum(delta.channel == "reasoning" for delta in deltas[:tokens])
        if tokens == self._tokens() and usage.completion is not None:
            tokens = usage.completion
        counted: Json = {
            "prompt_tokens": usage.prompt,
            "total_tokens": usage.prompt + tokens,
            "completion_tokens": tokens,
        }
        if usage.cached is not None:
            details = {"cached_tokens": usage.cached, "created_cache_tokens": 0}
            counted["prompt_tokens_details"] = details
        reasoning = reasoning if usage.reasoning is None else usage.reasoning
        return counted | {"completion_tokens_details": {"reasoning_tokens": reasoning}}

    def _whole_usage(self) -> Json:
        """Outside a stream, what is not known is null instead of left out."""
        counted = self._usage(self._tokens())
        details = counted.pop("completion_tokens_details")
        prompt = counted.pop("prompt_tokens_details", None)
        prompt = prompt and {**prompt, "multimodal_tokens": None}
        return {**counted, "prompt_tokens_details": prompt, "completion_tokens_details": details}

    def _stream_option(self, name: str) -> bool:
        return bool((self.request.get("stream_options") or {}).get(name))

    @staticmethod
    def _plain(parts: tuple[Part, ...]) -> list[Raw | Pause]:
        return [part for part in parts if isinstance(part, Raw | Pause)]


def encode(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def data(content: Json) -> bytes:
    return b"data: " + encode(content) + b"\n\n"


def _delta(part: Delta | CallStart | CallArguments, index: int) -> Json:
    match part:
        case Delta(channel=channel, text=text):
            return {channel: text}
        case CallStart(name=name, id=id_):
            function = {"name": name}
            call = {"id": id_, "type": "function", "index": index, "function": function}
        case CallArguments(text=text):
            call = {"index": index, "function": {"arguments": text}}
    return {"content": None, "tool_calls": [call]}
