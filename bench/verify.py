"""Whether streams are right, by parsing what the load generator only searches: fast wrong answers
are no result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from bench.connection import Connection
from bench.dialects import request
from bench.load import Target
from bench.script import WORDS, Script

SCRIPTS = (
    Script(tokens=100),
    Script(tokens=20, reasoning=20),
    Script(tokens=20, reasoning=5, tool=1),
)


class WrongError(Exception):
    """An answer is not what the upstream said."""


@dataclass(slots=True)
class Whole:
    """Keeps an answer."""

    status: int = 0
    content: bytes = b""

    def head(self, status: int) -> None:
        self.status = status

    def body(self, data: bytes) -> None:
        self.content += data


@dataclass(slots=True)
class Heard:
    """What the events of one stream say."""

    deltas: dict[str, list[str]] = field(default_factory=dict)
    done: dict[str, str] = field(default_factory=dict)
    types: list[str] = field(default_factory=list)
    response: dict[str, Any] = field(default_factory=dict)


async def verify(target: Target) -> None:
    """Ask for one stream of each kind. Raises WrongError."""
    for script in SCRIPTS:
        whole = Whole()
        connection = Connection(target.host, target.port)
        host = f"{target.host}:{target.port}"
        await connection.ask(
            request(target.dialect, script, host=host, streamed=True, token=target.token), whole
        )
        connection.close()
        _expect(whole.status, 200, "status")
        _check(_hear(whole.content), script)


def _hear(content: bytes) -> Heard:
    frames = content.removesuffix(b"\n\n").split(b"\n\n")
    _expect(frames.pop(), b"data: [DONE]", "last frame")
    heard = Heard()
    for number, frame in enumerate(frames):
        name, _, data = frame.partition(b"\n")
        _expect((name[:7], data[:6]), (b"event: ", b"data: "), "lines of an event")
        event = orjson.loads(data.removeprefix(b"data: "))
        _expect(name.decode(), f"event: {event['type']}", "name of an event")
        _expect(event["sequence_number"], number, "number of an event")
        heard.types.append(event["type"])
        what, _, step = event["type"].removeprefix("response.").rpartition(".")
        if step == "delta":
            heard.deltas.setdefault(what, []).append(event["delta"])
        elif step == "done" and what in heard.deltas:
            heard.done[what] = event["arguments" if "arguments" in what else "text"]
        heard.response = event.get("response", heard.response)
    return heard


def _check(heard: Heard, script: Script) -> None:
    answer = "function_call_arguments" if script.tool else "output_text"
    expected = {answer: script.pieces("text")}
    if script.reasoning:
        expected["reasoning_text"] = [WORDS[i % 1000] for i in range(script.reasoning)]
    texts = {what: "".join(pieces) for what, pieces in expected.items()}
    _expect(heard.types[:2], ["response.created", "response.in_progress"], "first events")
    _expect(heard.types[-1], "response.completed", "last event")
    _expect(heard.deltas, expected, "deltas")
    _expect(heard.done, texts, "texts of the done events")
    final = {_kind(item): _text(item) for item in heard.response["output"]}
    _expect(final, texts, "texts of the final response")
    _expect(heard.response["usage"]["output_tokens"], script.deltas, "output tokens")


def _kind(item: dict[str, Any]) -> str:
    kinds = {"message": "output_text", "reasoning": "reasoning_text"}
    return kinds.get(item["type"], "function_call_arguments")


def _text(item: dict[str, Any]) -> str:
    if "arguments" in item:
        return str(item["arguments"])
    return "".join(part["text"] for part in item["content"])


def _expect(found: Any, expected: Any, what: str) -> None:
    if found != expected:
        raise WrongError(f"{what}: {found!r} instead of {expected!r}")
