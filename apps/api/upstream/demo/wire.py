"""vLLM's bytes: frames of a stream, bodies without one, in its key order and with its nulls.

Written after recordings of vLLM 0.32 and compared with them in tests. Pure: no I/O.
"""

import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import orjson

from .generation import Generation, Piece
from .request import MODEL, Json, RefusedError

FINGERPRINT: Final = "responses-gateway-demo"
VERSION: Final = "0.32.0+responses-gateway-demo"
DONE: Final = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What every frame of one completion repeats."""

    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(8)}")
    created: int = field(default_factory=lambda: int(time.time()))
    model: str = MODEL
    fingerprint: str = FINGERPRINT

    def head(self, kind: str) -> Json:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}


def encode(body: object) -> bytes:
    return orjson.dumps(body)


def error_frame(error: RefusedError) -> bytes:
    # Unlike everything else, vLLM writes errors in a stream with blanks after the colons.
    return b"data: " + json.dumps(error.body()).encode() + b"\n\n"


def usage(prompt: int, completion: int, reasoning: int) -> Json:
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatStream:
    """The frames of one streamed chat completion; `prompt` is its number of tokens."""

    identity: Identity
    generation: Generation
    prompt: int
    include_usage: bool = False
    continuous_usage: bool = False
    include_reasoning: bool = True

    def frames(self) -> Iterator[bytes]:
        yield self._opening()
        for position in range(len(self.generation.pieces)):
            yield self._piece(position)
        yield self._closing()

    def _opening(self) -> bytes:
        delta = {"role": "assistant", "content": ""}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        return self._frame([choice], 0, {"prompt_token_ids": None, "prompt_text": None})

    def _piece(self, position: int) -> bytes:
        """The frame of one token; empty when the stream does not show it."""
        generation = self.generation
        last = position == len(generation.pieces) - 1
        delta = self._delta(generation.pieces[position])
        if delta is None and not last:
            return b""
        choice: Json = {
            "index": 0,
            "delta": delta or {},
            "logprobs": None,
            "finish_reason": generation.finish if last else None,
        }
        if last:
            choice["stop_reason"] = generation.stop_reason
        choice["token_ids"] = None
        signed = last and not self.include_usage
        extra = {"system_fingerprint": self.identity.fingerprint} if signed else {}
        return self._frame([choice], position + 1, extra)

    def _closing(self) -> bytes:
        if not self.include_usage:
            return DONE
        tokens = len(self.generation.pieces)
        body = self.identity.head("chat.completion.chunk") | {
            "choices": [],
            "usage": self._usage(tokens),
            "system_fingerprint": self.identity.fingerprint,
        }
        return data(body) + DONE

    def _delta(self, piece: Piece) -> Json | None:
        hidden = {} if self.include_reasoning else {"reasoning": None}
        match piece.kind:
            case "reasoning" if self.include_reasoning:
                return {"reasoning": piece.text}
            case "content":
                return {"content": piece.text, **hidden}
            case "name":
                call = {
                    "id": self.generation.call_ids[piece.call],
                    "type": "function",
                    "index": piece.call,
                    "function": {"name": piece.text},
                }
                return {"content": None, "tool_calls": [call]}
            case "arguments":
                call = {"index": piece.call, "function": {"arguments": piece.text}}
                return {"content": None, "tool_calls": [call]}
        return None

    def _usage(self, tokens: int) -> Json:
        # Reasoning comes first, so of the first tokens as many as there are.
        return usage(self.prompt, tokens, min(tokens, self.generation.reasoning_tokens))

    def _frame(self, choices: list[Json], tokens: int, extra: Json) -> bytes:
        body = self.identity.head("chat.completion.chunk") | {"choices": choices}
        if self.continuous_usage:
            body["usage"] = self._usage(tokens)
        return data(body | extra)


def chat_body(
    identity: Identity,
    generation: Generation,
    *,
    prompt: int,
    include_reasoning: bool,
    forced: bool,
) -> Json:
    """A chat completion without a stream; `forced` when the client insisted on a call."""
    message: Json = {
        "role": "assistant",
        "content": _content(generation, forced=forced),
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
    }
    if calls := generation.whole_calls:
        message["tool_calls"] = [
            {"id": id_, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for id_, c in calls
        ]
    message["reasoning"] = (generation.reasoning or None) if include_reasoning else None
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": generation.finish,
        "stop_reason": generation.stop_reason,
        "token_ids": None,
        "routed_experts": None,
    }
    counted = usage(prompt, len(generation.pieces), generation.reasoning_tokens)
    return identity.head("chat.completion") | {
        "choices": [choice],
        "service_tier": None,
        "system_fingerprint": identity.fingerprint,
        "usage": whole_usage(counted),
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def whole_usage(counted: Json) -> Json:
    """Outside a stream, what vLLM does not know is null instead of left out."""
    details = counted.pop("completion_tokens_details", None)
    return {**counted, "prompt_tokens_details": None, "completion_tokens_details": details}


def _content(generation: Generation, *, forced: bool) -> str | None:
    if generation.whole_calls:
        return generation.text or ("" if forced else None)
    return generation.text or (None if generation.finish == "length" else "")


def data(body: Json) -> bytes:
    return b"data: " + encode(body) + b"\n\n"
