"""The two APIs that are measured: what is sent, and by which bytes an answer is known.

An answer is searched, not parsed: the load generator must cost less than what it measures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from bench.script import Script

PROMPT = "Say it. " * 8
TOOL_PARAMETERS = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """``deltas`` stand once in each token's event, ``stamp`` finds the time in it, ``streamed``
    and ``whole`` stand in answers that came to their end."""

    path: str
    body: Callable[..., dict[str, Any]]
    deltas: tuple[bytes, ...]
    stamp: re.Pattern[bytes]
    streamed: bytes
    whole: bytes


def request(
    dialect: Dialect,
    script: Script,
    *,
    host: str,
    streamed: bool,
    token: str = "",
    text: str = PROMPT,
    previous: str | None = None,
    tools: Sequence[dict[str, Any]] = (),
) -> bytes:
    """One HTTP request. ``tools`` are the hosted ones."""
    body = dialect.body(script, text, previous) | {"stream": streamed, "model": script.name}
    if tools:
        body["tools"] = tools
    if streamed and dialect is CHAT:
        body["stream_options"] = {"include_usage": True}
    content = orjson.dumps(body)
    head = (
        f"POST {dialect.path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token or 'none'}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def _responses_body(script: Script, text: str, previous: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {"input": text}
    if previous is not None:
        body["previous_response_id"] = previous
    if script.tool:
        body["tools"] = [{"type": "function", "name": "say", "parameters": TOOL_PARAMETERS}]
    return body


def _chat_body(script: Script, text: str, previous: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": text}]}
    if script.tool:
        function = {"name": "say", "parameters": TOOL_PARAMETERS}
        body["tools"] = [{"type": "function", "function": function}]
    return body


RESPONSES = Dialect(
    path="/v1/responses",
    body=_responses_body,
    deltas=(b'"type":"response.output_text.delta"', b'"type":"response.reasoning_text.delta"',
            b'"type":"response.function_call_arguments.delta"'),
    stamp=re.compile(rb'"delta":" (\d{16})"'),
    streamed=b'"type":"response.completed"',
    whole=b'"status":"completed"',
)  # fmt: skip
CHAT = Dialect(
    path="/v1/chat/completions",
    body=_chat_body,
    deltas=(b'"delta":{"content":"', b'"delta":{"reasoning":"', b'"function":{"arguments":"'),
    stamp=re.compile(rb'"content":" (\d{16})"'),
    streamed=b"data: [DONE]",
    whole=b'"finish_reason":"',
)
