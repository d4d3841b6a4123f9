"""Finds out what the upstream's models can do: one small request for each capability.

It asks as runs do, through the same code, so that it finds what clients would find.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import NamedTuple

import orjson

from apps.api.protocol.context import Context
from apps.api.protocol.deltas import (
    Delta,
    Finish,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    TurnEnd,
)
from apps.api.protocol.offers import Offers
from apps.api.protocol.requests import TextFormatJsonSchema
from apps.api.protocol.tools import FunctionTool
from apps.api.protocol.types import Item, JSONObject
from apps.api.upstream.client import ChatUpstream
from apps.api.upstream.errors import (
    NO_TOOL_PARSER,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnreachable,
)
from apps.api.upstream.models import list_models, version
from apps.api.upstream.tokens import count_tokens

TOKENS = 512
"""Room for a thought before the answer."""
TIME_LIMIT = 120.0

NO_REASONING_PARSER = (
    "Its thoughts stand in the answer. Start vLLM with --reasoning-parser NAME, where NAME is the "
    "parser of the model's family."
)
WRONG_TOOL_PARSER = (
    "It wrote the call as text: vLLM's --tool-call-parser does not fit the model, or the model "
    "cannot call tools."
)
NO_TOKENIZE = (
    "There is no /tokenize beside /v1: input tokens cannot be counted, and truncation goes by "
    "the length of texts."
)
TAGS = ("<think>", "</think>", "[THINK]", "[/THINK]")


class Capability(StrEnum):
    TOOLS = "tools"
    REASONING = "reasoning"
    SCHEMA = "schema"
    TOKENIZE = "tokenize"
    IMAGES = "images"


class Finding(NamedTuple):
    """``works`` is None when it could not be told; ``detail`` says why, or what to do."""

    capability: Capability
    works: bool | None
    detail: str = ""


class Survey(NamedTuple):
    """What was found, by model, at a server of this version."""

    version: str
    models: dict[str, list[Finding]]


async def survey() -> Survey:
    """Ask all models, one request after another. Raises UpstreamError when the server cannot be
    reached or does not tell its models."""
    # Adapters have the parsers and the template of the model that they adapt.
    names = [str(model["id"]) for model in await list_models() if not model.get("parent")]
    return Survey(await version(), {name: await examine(name) for name in names})


async def examine(model: str) -> list[Finding]:
    """Raises UpstreamUnreachable."""
    return [await _finding(capability, check, model) for capability, check in CHECKS.items()]


Verdict = tuple[bool | None, str]
Check = Callable[[str], Awaitable[Verdict]]


async def _finding(capability: Capability, check: Check, model: str) -> Finding:
    try:
        return Finding(capability, *await check(model))
    except UpstreamUnreachable:
        raise
    except UpstreamRefused as exc:
        if exc.lacks_tool_parser:
            return Finding(capability, False, NO_TOOL_PARSER)
        refused_for_good = exc.status is not None and exc.status < 500 and exc.status != 429
        return Finding(capability, False if refused_for_good else None, str(exc))
    except UpstreamError as exc:
        return Finding(capability, None, str(exc))


# --- The requests ---------------------------------------------------------------------------------


async def _tools(model: str) -> Verdict:
    offers = Offers([WEATHER])
    said = await _said(
        Context(model=model, items=_asked("Use get_weather with Paris."), offers=offers)
    )
    names = [delta.name for delta in said if isinstance(delta, ToolCallStart)]
    if names:
        written = "".join(d.arguments for d in said if isinstance(d, ToolCallArguments))
        if offers.meant(names[0]) is None or (len(names) == 1 and not _is_object(written)):
            return False, WRONG_TOOL_PARSER
        return True, ""
    if WEATHER.name in _text(said):
        return False, WRONG_TOOL_PARSER
    return None, _unsure(said, "It answered without calling the tool that it was given.")


async def _reasoning(model: str) -> Verdict:
    said = await _said(Context(model=model, items=_asked("What is 17 + 25?")))
    if any(isinstance(delta, ReasoningDelta) for delta in said):
        return True, ""
    if any(tag in _text(said) for tag in TAGS):
        return False, NO_REASONING_PARSER
    return None, _unsure(said, "It answered without a thought.")


async def _schema(model: str) -> Verdict:
    """JSON is not asked for, so that an answer in JSON is the schema's doing, even when a weak
    model never gets to its end."""
    said = await _said(Context(model=model, items=_asked("Is water wet?"), text_format=YES_OR_NO))
    if _text(said).lstrip().startswith("{"):
        return True, ""
    if _was_cut(said) and not _text(said):
        return None, CUT
    return False, "The answer did not follow the schema."


async def _tokenize(model: str) -> Verdict:
    try:
        await count_tokens(Context(model=model, items=_asked("Hello.")))
    except UpstreamRefused as exc:
        if exc.status in (404, 405):
            return False, NO_TOKENIZE
        raise
    return True, ""


async def _images(model: str) -> Verdict:
    await _said(Context(model=model, items=[SEE]))
    return True, ""


CHECKS: dict[Capability, Check] = {
    Capability.TOOLS: _tools,
    Capability.REASONING: _reasoning,
    Capability.SCHEMA: _schema,
    Capability.TOKENIZE: _tokenize,
    Capability.IMAGES: _images,
}

CITY: JSONObject = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = FunctionTool(
    type="function",
    name="get_weather",
    description="Tells the weather in a city.",
    parameters=CITY | {"required": ["city"]},
)
YES_OR_NO = TextFormatJsonSchema.model_validate(
    {
        "type": "json_schema",
        "name": "yes_or_no",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"answer": {"type": "boolean"}},
            "required": ["answer"],
            "additionalProperties": False,
        },
    }
)


GREY = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAAAAACPAi4CAAAAKUlEQVR42u3MQREAAAwCIKMb3RD77SAA6VEEAoFAIBAI"
    "BAKBQCAQfA8G320AeXC6efoAAAAASUVORK5CYII="
)
SEE: Item = {
    "type": "message",
    "role": "user",
    "content": [
        {"type": "input_text", "text": "Which colour is this?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{GREY}"},
    ],
}


# --- The answers ----------------------------------------------------------------------------------

CUT = f"It was not finished after {TOKENS} tokens."


def _asked(question: str) -> list[Item]:
    text = {"type": "input_text", "text": question}
    return [{"type": "message", "role": "user", "content": [text]}]


async def _said(context: Context) -> list[Delta]:
    """All that the model has to say to this."""
    context = replace(context, max_output_tokens=TOKENS, temperature=0)
    deadline = asyncio.get_running_loop().time() + TIME_LIMIT
    turn = await ChatUpstream().open(context, request_id="", deadline=deadline)
    said: list[Delta] = []
    try:
        while (deltas := await turn.read()) is not None:
            said += deltas
    finally:
        await turn.close()
    return said


def _text(said: Sequence[Delta]) -> str:
    return "".join(delta.text for delta in said if isinstance(delta, TextDelta))


def _was_cut(said: Sequence[Delta]) -> bool:
    end = said[-1]
    return isinstance(end, TurnEnd) and end.finish is Finish.LENGTH


def _unsure(said: Sequence[Delta], otherwise: str) -> str:
    return CUT if _was_cut(said) else otherwise


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text or "{}"), dict)
    except orjson.JSONDecodeError:
        return False
