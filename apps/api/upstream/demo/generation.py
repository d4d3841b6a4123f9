"""A reply under the limits of its request, token by token, as vLLM's parsers would cut it up.

Pure: the HTTP side is server.py, the bytes are wire.py.
"""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal

from .request import Call
from .rules import Reply
from .tokens import split

MAX_TOKENS: Final = 100_000

Kind = Literal["reasoning", "content", "name", "arguments", "silent", "end"]


@dataclass(frozen=True, slots=True)
class Piece:
    """One token: what a stream shows of it, and what the model wrote."""

    kind: Kind
    text: str = ""
    raw: str = ""
    call: int = 0


@dataclass(frozen=True, slots=True)
class Generation:
    pieces: tuple[Piece, ...]
    calls: tuple[Call, ...]
    call_ids: tuple[str, ...]
    finish: str
    stop_reason: str | None = None
    reasoning_tokens: int = 0

    @property
    def reasoning(self) -> str:
        return "".join(piece.text for piece in self.pieces if piece.kind == "reasoning")

    @property
    def text(self) -> str:
        """Without a stream, a call that the limit cuts leaves everything as the model wrote it."""
        if self.calls and self.finish == "length":
            return "".join(piece.raw for piece in self.pieces)
        return "".join(piece.text for piece in self.pieces if piece.kind == "content")

    @property
    def whole_calls(self) -> tuple[tuple[str, Call], ...]:
        if self.finish == "length":
            return ()
        return tuple(zip(self.call_ids, self.calls, strict=True))


def generate(
    reply: Reply, *, limit: int, stop: Sequence[str] = (), include_stop: bool = False
) -> Generation:
    limit = min(limit, MAX_TOKENS)
    text = " ".join([reply.text] * limit) if reply.endless else reply.text
    text, stop_reason = _stopped(text, stop, include_stop=include_stop)
    pieces = tuple(islice(_pieces(reply, text), limit))
    ended = pieces[-1].kind == "end"
    return Generation(
        pieces=pieces,
        calls=reply.calls,
        call_ids=tuple(f"chatcmpl-tool-{secrets.token_hex(8)}" for _ in reply.calls),
        finish=reply.finish if ended else "length",
        stop_reason=stop_reason if ended else None,
        reasoning_tokens=sum(piece.kind == "reasoning" for piece in pieces),
    )


def _stopped(text: str, stop: Sequence[str], *, include_stop: bool) -> tuple[str, str | None]:
    found = [(text.find(string), string) for string in stop if string in text]
    if not found:
        return text, None
    start, string = min(found)
    return text[: start + len(string) if include_stop else start], string


def _pieces(reply: Reply, text: str) -> Iterator[Piece]:
    for token in split(reply.reasoning):
        yield Piece("reasoning", token)
    for token in split(text):
        yield Piece("content", token, token)
    for index, call in enumerate(reply.calls):
        yield from _call_pieces(index, call)
    yield Piece("end")


def _call_pieces(index: int, call: Call) -> Iterator[Piece]:
    """In the markup of the hermes format: the name is shown once all of it is there."""
    *opening, last = split(f'<tool_call>\n{{"name": "{call.name}",')
    yield from _silent(opening, index)
    yield Piece("name", call.name, last, index)
    yield from _silent(split(' "arguments":'), index)
    for position, token in enumerate(split(call.arguments)):
        yield Piece("arguments", token, token if position else f" {token}", index)
    yield from _silent(split("}\n</tool_call>"), index)


def _silent(tokens: Iterable[str], index: int) -> Iterator[Piece]:
    return (Piece("silent", raw=token, call=index) for token in tokens)
