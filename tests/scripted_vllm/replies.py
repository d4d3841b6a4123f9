"""Replies as values, and the functions that make them; `first + second` says both in order."""

import json
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, TypedDict, Unpack

RECORDINGS: Final = Path(__file__).parents[1] / "recordings" / "vllm"

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as vLLM reports them; None is counted from the reply, or not reported."""

    prompt: int = 12
    completion: int | None = None
    cached: int | None = None
    reasoning: int | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    channel: Literal["content", "reasoning"]
    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    name: str
    id: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    text: str


@dataclass(frozen=True, slots=True)
class Pause:
    """The server goes on when the test sets the event."""

    event: threading.Event


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes sent as they are: at their place in a stream, else as the body."""

    data: bytes


Part = Delta | CallStart | CallArguments | Pause | Raw


class Options(TypedDict, total=False):
    """How a reply is delivered."""

    status: int
    headers: Mapping[str, str]
    content_type: str
    body: object  # instead of a completion: anything as JSON, or bytes as they are
    garbage: bytes  # instead of HTTP
    hang_before_headers: threading.Event

    finish_reason: str  # default: stop, or tool_calls unless the request names the tool
    stop_reason: str
    usage: Usage
    finish_with_last: bool  # the last delta carries the finish_reason, as at the limit of tokens
    no_finish: bool
    no_usage: bool
    no_done: bool
    error_frame: Json  # ends the stream instead of a finish_reason; without a stream, the answer
    bare: bool  # only the parts, without vLLM's frames around them

    delay: float  # seconds before each chunk but the first
    cut_after: int  # close after so many chunks, the opening one counted; else: in mid-body
    reset: bool  # cut with a TCP reset
    one_write: bool  # the whole stream as one chunk
    chunk_bytes: int  # the stream in chunks of so many bytes, wherever that cuts it


@dataclass(frozen=True, slots=True)
class Reply:
    parts: tuple[Part, ...] = ()
    options: Options = field(default_factory=Options)

    def __add__(self, other: "Reply") -> "Reply":
        return Reply(self.parts + other.parts, {**self.options, **other.options})

    def but(self, **options: Unpack[Options]) -> "Reply":
        return replace(self, options={**self.options, **options})


def text(*pieces: str, **options: Unpack[Options]) -> Reply:
    return Reply(tuple(Delta("content", piece) for piece in pieces), options)


def reasoning(*pieces: str, **options: Unpack[Options]) -> Reply:
    return Reply(tuple(Delta("reasoning", piece) for piece in pieces), options)


def tool_call(
    name: str,
    *arguments: str,
    id: str | None = None,  # noqa: A002 - the word of the wire
    **options: Unpack[Options],
) -> Reply:
    """One call, its arguments in pieces: `tool_call("roll", '{"dice": ', '"2d6"}')`."""
    start = CallStart(name, id or f"chatcmpl-tool-{secrets.token_hex(8)}")
    return Reply((start, *map(CallArguments, arguments)), options)


def calls(*wanted: tuple[str, Json], **options: Unpack[Options]) -> Reply:
    """Parallel calls: `calls(("roll", {"dice": "2d6"}), ("stop", {}))`."""
    reply = Reply(options=options)
    for name, arguments in wanted:
        reply += tool_call(name, json.dumps(arguments, ensure_ascii=False))
    return reply


def pause(event: threading.Event) -> Reply:
    return Reply((Pause(event),))


def raw(data: bytes, **options: Unpack[Options]) -> Reply:
    return Reply((Raw(data),), options)


def body(content: object, **options: Unpack[Options]) -> Reply:
    """Any JSON, or bytes as they are, instead of a completion."""
    return Reply(options={"body": content, **options})


def error(
    status: int, message: str, *, kind: str = "BadRequestError", param: str | None = None
) -> Json:
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


def failure(
    status: int,
    message: str,
    /,
    *,
    kind: str = "BadRequestError",
    param: str | None = None,
    **options: Unpack[Options],
) -> Reply:
    """An HTTP error with vLLM's body."""
    content = error(status, message, kind=kind, param=param)
    return body(content, status=status).but(**options)


def garbage(data: bytes = b"this is not HTTP\r\n\r\n") -> Reply:
    return Reply(options={"garbage": data})


def recorded(case: str | Path) -> Reply:
    """What a real vLLM answered, byte for byte: `recorded("chat/stream_usage")`."""
    path = RECORDINGS / case
    found = next(path.parent.glob(f"{path.name}.response.*"))
    name = f"{path.parent.name}/{path.name}"
    index = map(json.loads, (path.parents[1] / "index.jsonl").read_text().splitlines())
    entry = next(entry for entry in index if entry["name"] == name)
    options = Options(status=entry["status"], content_type=entry["content_type"], bare=True)
    data = found.read_bytes()
    if found.suffix != ".sse":
        return body(data, **options)
    return Reply(tuple(Raw(line + b"\n\n") for line in data.split(b"\n\n") if line), options)
