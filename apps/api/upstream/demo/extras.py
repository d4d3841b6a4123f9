"""The smaller endpoints of the demo: model list, completions, embeddings, tokenize.

Pure bodies, small and deterministic; the chat endpoint is in wire.py.
"""

import base64
import hashlib
import math
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from .generation import Generation
from .request import (
    MODEL,
    ChatRequest,
    Json,
    Message,
    check_model,
    check_sampling,
    invalid,
    max_tokens,
    read_chat,
    refused,
    stops,
)
from .tokens import count, split, token_id
from .wire import DONE, Identity, data, usage, whole_usage

_DIMENSIONS: Final = 64
_MAX_DIMENSIONS: Final = 4096


def models_body(created: int, context: int) -> Json:
    permission = {
        "id": f"modelperm-{MODEL}",
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": False,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    model = {
        "id": MODEL,
        "object": "model",
        "created": created,
        "owned_by": "responses-gateway",
        "root": MODEL,
        "parent": None,
        "max_model_len": context,
        "permission": [permission],
    }
    return {"object": "list", "data": [model]}


def read_completion(body: Json) -> ChatRequest:
    """A completion is answered as a chat of one user message."""
    check_model(body)
    check_sampling(body)
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise refused("The demo model completes one prompt of text at a time.", "prompt")
    options = body.get("stream_options") or {}
    return ChatRequest(
        messages=(Message("user", prompt),),
        stream=bool(body.get("stream")),
        include_usage=bool(options.get("include_usage")),
        max_tokens=max_tokens(body),
        stop=stops(body),
        include_stop=bool(body.get("include_stop_str_in_output")),
    )


def completion_identity(identity: Identity) -> Identity:
    return replace(identity, id=identity.id.replace("chatcmpl-", "cmpl-"))


def completion_body(identity: Identity, generation: Generation, prompt: int) -> Json:
    choice = {
        "index": 0,
        "text": generation.text,
        "logprobs": None,
        "finish_reason": generation.finish,
        "stop_reason": generation.stop_reason,
        "token_ids": None,
        "prompt_logprobs": None,
        "prompt_token_ids": None,
        "routed_experts": None,
    }
    return identity.head("text_completion") | {
        "choices": [choice],
        "service_tier": None,
        "system_fingerprint": identity.fingerprint,
        "usage": whole_usage(_usage(generation, prompt)),
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


def completion_frames(
    identity: Identity, generation: Generation, prompt: int, *, include_usage: bool
) -> Iterator[bytes]:
    for position, piece in enumerate(generation.pieces, start=1):
        last = position == len(generation.pieces)
        choice = {
            "index": 0,
            "text": piece.text,
            "logprobs": None,
            "finish_reason": generation.finish if last else None,
            "stop_reason": generation.stop_reason if last else None,
            "prompt_token_ids": None,
            "token_ids": None,
        }
        yield data(identity.head("text_completion") | {"choices": [choice]})
    if include_usage:
        totals = {"choices": [], "usage": _usage(generation, prompt)}
        yield data(identity.head("text_completion") | totals)
    yield DONE


def embeddings_body(identity: Identity, body: Json) -> Json:
    check_model(body)
    inputs = body.get("input")
    if isinstance(inputs, str) or (isinstance(inputs, list) and inputs and _is_ids(inputs)):
        inputs = [inputs]
    if not isinstance(inputs, list) or not inputs:
        raise invalid("missing", "body.input", "Field required", body)
    size = body.get("dimensions") or _DIMENSIONS
    if not isinstance(size, int) or not 0 < size <= _MAX_DIMENSIONS:
        raise refused(f"dimensions must be from 1 to {_MAX_DIMENSIONS}.", "dimensions", size)
    packed = body.get("encoding_format") == "base64"
    tokens = sum(len(one) if isinstance(one, list) else count(str(one)) for one in inputs)
    return {
        "id": identity.id.replace("chatcmpl-", "embd-"),
        "object": "list",
        "created": identity.created,
        "model": MODEL,
        "data": [
            {"index": i, "object": "embedding", "embedding": _embedding(str(one), size, packed)}
            for i, one in enumerate(inputs)
        ],
        "usage": {
            "prompt_tokens": tokens,
            "total_tokens": tokens,
            "completion_tokens": 0,
            "prompt_tokens_details": None,
        },
    }


def tokenize_body(body: Json, context: int) -> Json:
    check_model(body)
    if "messages" in body:
        tokens = list(read_chat(body).prompt())
    elif isinstance(body.get("prompt"), str):
        tokens = list(split(body["prompt"]))
    else:
        raise invalid("missing", "body.prompt", "Field required", body)
    return {
        "count": len(tokens),
        "max_model_len": context,
        "tokens": [token_id(token) for token in tokens],
        "token_strs": tokens if body.get("return_token_strs") else None,
    }


def _usage(generation: Generation, prompt: int) -> Json:
    counted = usage(prompt, len(generation.pieces), 0)
    del counted["completion_tokens_details"]
    return counted


def _is_ids(inputs: list[Any]) -> bool:
    return all(isinstance(one, int) for one in inputs)


def _embedding(text: str, size: int, packed: bool) -> list[float] | str:
    """A unit vector that depends on the text alone; near texts are not near each other."""
    raw = hashlib.shake_256(text.encode()).digest(2 * size)
    values = [value / 2**15 for value in struct.unpack(f"<{size}h", raw)]
    length = math.hypot(*values) or 1.0
    vector = [value / length for value in values]
    return base64.b64encode(struct.pack(f"<{size}f", *vector)).decode() if packed else vector
