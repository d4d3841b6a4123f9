"""The grammars of custom tools: where a request declares them, and what it takes to keep to one.

vLLM decodes an answer under a grammar, but not the arguments of a call, which each family of models
writes in a form of its own. A tool that has to be called needs no form: the whole answer is its input.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import orjson

from apps.api.protocol.context import Context
from apps.api.protocol.deltas import (
    Delta,
    Finish,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    TurnEnd,
)
from apps.api.protocol.ids import IdSource
from apps.api.protocol.input_calls import AdditionalTools, ToolSearchOutput
from apps.api.protocol.json_strings import TextArgument
from apps.api.protocol.offers import Offer, Offers
from apps.api.protocol.requests import CreateResponse
from apps.api.protocol.tools import CustomTool, GrammarFormat, KnownTool, NamespaceTool, OtherTool
from apps.api.protocol.types import Item, JSONObject


class DeclaredGrammar(NamedTuple):
    """A grammar and the path of the parameter that it came in."""

    param: str
    grammar: GrammarFormat


def declared_grammars(body: CreateResponse) -> Iterator[DeclaredGrammar]:
    """All that come with a request, in its tools or with its input."""
    yield from _grammars_of(body.tools or (), "tools")
    for position, item in enumerate(body.input if isinstance(body.input, list) else ()):
        if isinstance(item, ToolSearchOutput | AdditionalTools):
            yield from _grammars_of(item.tools, f"input[{position}].tools")


def _grammars_of(tools: Sequence[KnownTool | OtherTool], path: str) -> Iterator[DeclaredGrammar]:
    for position, tool in enumerate(tools):
        if isinstance(tool, NamespaceTool):
            yield from _grammars_of(tool.tools, f"{path}[{position}].tools")
        elif isinstance(tool, CustomTool) and isinstance(tool.format, GrammarFormat):
            yield DeclaredGrammar(f"{path}[{position}].format.definition", tool.format)


# --- Calls that a model chose to make -------------------------------------------------------------


class WrittenCall(NamedTuple):
    """A call of a tool that has a grammar, and where in the deltas it begins."""

    position: int
    offer: Offer
    input: str


def has_grammar(delta: Delta, offers: Offers) -> bool:
    """Whether a call begins whose input is to follow a grammar."""
    return _bound(delta, offers) is not None


def _bound(delta: Delta, offers: Offers) -> Offer | None:
    offer = offers.meant(delta.name) if isinstance(delta, ToolCallStart) else None
    return offer if offer is not None and offer.grammar is not None else None


def written_calls(deltas: Sequence[Delta], offers: Offers) -> Iterator[WrittenCall]:
    """The calls with grammars among the deltas of a turn that has ended."""
    for position, delta in enumerate(deltas):
        if (offer := _bound(delta, offers)) is not None:
            assert isinstance(delta, ToolCallStart)
            text = TextArgument("input")
            for other in deltas[position:]:
                if isinstance(other, ToolCallArguments) and other.call == delta.call:
                    text.feed(other.arguments)
            text.rest()
            yield WrittenCall(position, offer, text.text)


def to_be_dictated(context: Context, call: WrittenCall, *, ids: IdSource) -> Context:
    """The same question after a call whose input did not follow its grammar: the tool has to be
    called, and the model knows why."""
    about: Item = {"call_id": ids("call"), "status": "completed"}
    made: Item = about | {
        "type": "custom_tool_call",
        "id": ids("ctc"),
        "name": call.offer.tool,
        "input": call.input,
    }
    if call.offer.namespace is not None:
        made["namespace"] = call.offer.namespace
    told: Item = about | {"type": "custom_tool_call_output", "id": ids("ctco"), "output": MISFIT}
    return replace(
        context,
        items=[*context.items, made, told],
        offers=context.offers.forcing(call.offer),
    )


MISFIT = "The input does not follow the grammar of the tool, so the tool was not run."


# --- Answers that are the input of a tool ---------------------------------------------------------


def dictated(offers: Offers) -> Offer | None:
    """The custom tool that has to be called next, if there is just one and it has a grammar."""
    only = offers.forced
    if offers.mode == "required" and len(offers.sent) == 1:
        only = offers.sent[0]
    return only if only is not None and only.grammar is not None else None


def constraint(offer: Offer) -> JSONObject:
    """vLLM's ``structured_outputs`` for the input of the tool."""
    assert offer.grammar is not None
    kind = "regex" if offer.grammar.syntax == "regex" else "grammar"
    return {kind: offer.grammar.definition}


def instruction(offer: Offer) -> Item:
    """Tells the model what its answer will be: it would rather write a call."""
    text = (
        f"Your next answer is taken as the input of the tool {offer.name}, as it is. Write that "
        "input and nothing else: no call, no quotes, no explanation."
    )
    content = [{"type": "input_text", "text": text}]
    return {"type": "message", "role": "system", "content": content}


class Dictation:
    """Makes the call of an answer that is the tool's input. An answer without text is none, and one
    that was cut is half a call."""

    CALL = -1  # told apart from calls that a model makes all the same

    def __init__(self, offer: Offer) -> None:
        self._name = offer.name
        self._begun = False

    def feed(self, deltas: Sequence[Delta]) -> list[Delta]:
        return [call for delta in deltas for call in self._calls(delta)]

    def _calls(self, delta: Delta) -> Iterator[Delta]:
        if isinstance(delta, TextDelta):
            if not self._begun:
                self._begun = True
                yield ToolCallStart(self.CALL, self._name)
                yield ToolCallArguments(self.CALL, '{"input":"')
            yield ToolCallArguments(self.CALL, orjson.dumps(delta.text)[1:-1].decode())
            return
        if isinstance(delta, TurnEnd) and delta.finish is Finish.STOP and self._begun:
            yield ToolCallArguments(self.CALL, '"}')
        yield delta
