"""A script as the bytes of vLLM's answer to one request. No I/O."""

from __future__ import annotations

import itertools
import time
from typing import Any

import orjson

from bench.script import WORDS, Script

HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
DONE = b"data: [DONE]\n\n"
LAST = b"0\r\n\r\n"

_serial = itertools.count(1)


def http_chunk(frame: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(frame), frame)


class Stream:
    """One streamed answer, token by token, each in an event and an HTTP chunk of its own."""

    def __init__(self, script: Script, model: str, request: dict[str, Any]) -> None:
        self._script, self._request = script, request
        self._base = (
            b'data: {"id":"%b","object":"chat.completion.chunk","created":%d,"model":%b,'
            % (
                _new_id("chatcmpl").encode(),
                int(time.time()),
                orjson.dumps(model),
            )
        )
        self._pieces = [orjson.dumps(piece)[1:-1] for piece in script.pieces(_argument(request))]
        kind = b'"tool_calls":[{"index":0,"function":{"arguments":"%b"}}]'
        self._text = self._around(kind if script.tool else b'"content":"%b"')
        self._thought = self._around(b'"reasoning":"%b"')

    def __len__(self) -> int:
        return self._script.reasoning + len(self._pieces)

    def opening(self) -> bytes:
        """The HTTP head and the chunk with the role."""
        return HEAD + http_chunk(self._frame(b'"role":"assistant","content":""'))

    def token(self, position: int) -> bytes:
        """One token as it is sent now; with the first of a call comes its name."""
        thoughts = self._script.reasoning
        head, tail = self._thought if position < thoughts else self._text
        if self._script.stamp:
            piece = b" %016d" % (time.monotonic_ns() // 1000)
        elif position < thoughts:
            piece = WORDS[position % 1000].encode()
        else:
            piece = self._pieces[position - thoughts]
        begins_call = self._script.tool and position == thoughts
        return (self._call() if begins_call else b"") + http_chunk(head + piece + tail)

    def closing(self) -> bytes:
        """Everything after the last token."""
        reason = b"tool_calls" if self._script.tool else b"stop"
        end = http_chunk(self._frame(b"", finish=b'"%b","stop_reason":null' % reason))
        if (self._request.get("stream_options") or {}).get("include_usage"):
            usage = orjson.dumps(usage_of(self._request["messages"], len(self)))
            end += http_chunk(self._base + b'"choices":[],"usage":%b}\n\n' % usage)
        return end + http_chunk(DONE) + LAST

    def _call(self) -> bytes:
        name = self._request["tools"][0]["function"]["name"]
        call = {"id": _new_id("chatcmpl-tool"), "type": "function", "index": 0}
        call["function"] = {"name": name}
        return http_chunk(self._frame(b'"tool_calls":[%b]' % orjson.dumps(call)))

    def _around(self, delta: bytes) -> tuple[bytes, bytes]:
        head, tail = self._frame(delta).split(b"%b")
        return head, tail

    def _frame(self, delta: bytes, *, finish: bytes = b"null") -> bytes:
        return self._base + (
            b'"choices":[{"index":0,"delta":{' + delta + b'},"logprobs":null,"finish_reason":'
            + finish + b',"token_ids":null}]}\n\n'
        )  # fmt: skip


def completion(script: Script, model: str, request: dict[str, Any]) -> bytes:
    """The answer to a request that is not streamed."""
    text = "".join(script.pieces(_argument(request)))
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if script.tool:
        function = {"name": request["tools"][0]["function"]["name"], "arguments": text}
        call = {"id": _new_id("chatcmpl-tool"), "type": "function", "function": function}
        message |= {"content": None, "tool_calls": [call]}
    message["reasoning"] = "".join(WORDS[i % 1000] for i in range(script.reasoning)) or None
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": "tool_calls" if script.tool else "stop",
        "stop_reason": None,
        "token_ids": None,
    }
    return orjson.dumps({
        "id": _new_id("chatcmpl"),
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "usage": usage_of(request["messages"], script.deltas),
    })  # fmt: skip


def _argument(request: dict[str, Any]) -> str:
    """The name of the first tool's one parameter."""
    for tool in request.get("tools") or ():
        return str(next(iter(tool["function"]["parameters"]["properties"])))
    return ""


def usage_of(messages: list[dict[str, Any]], completion_tokens: int) -> dict[str, Any]:
    """A prompt token is four characters: a whole conversation shows in the count."""
    prompt = sum(len(message.get("content") or "") for message in messages) // 4
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion_tokens,
        "completion_tokens": completion_tokens,
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _new_id(prefix: str) -> str:
    return f"{prefix}-{next(_serial):016x}"
