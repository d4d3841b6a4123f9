"""Joins stored history and new input into what the model will see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from apps.api.engine import intake, media, pictures
from apps.api.engine.failures import database_needed
from apps.api.engine.given_files import given_files, told
from apps.api.engine.sealing import Sealer
from apps.api.errors import InvalidRequest, NotFound
from apps.api.protocol.calls import (
    PairingError,
    answered_calls,
    check_pairs,
    has_calls,
    with_one_output_each,
    without_dead_calls,
)
from apps.api.protocol.hosted_tools import CodeInterpreterTool
from apps.api.protocol.ids import new_id
from apps.api.protocol.input_calls import BRINGS_TOOLS
from apps.api.protocol.input_items import ItemReference, to_items
from apps.api.protocol.media import Media
from apps.api.protocol.offers import NO_OFFERS, GatewayFunctions, Offers
from apps.api.protocol.ready_turns import ready_turn
from apps.api.protocol.requests import CreateResponse
from apps.api.protocol.tools import Tool, known_tools
from apps.api.protocol.types import Item
from apps.store.db import in_thread
from apps.store.errors import ResponseNotFound, StillRunning
from apps.store.history import load_history
from apps.store.responses import find_items
from apps.store.snapshots import History, StoredTurn
from apps.tools.base import GivenFile

TOOLS: TypeAdapter[list[Any]] = TypeAdapter(list[Tool])


@dataclass(frozen=True, slots=True)
class Hydrated:
    """``input`` is the request's own, ``items`` all that the model sees, ``context`` all that there
    is. ``new_media`` came with the request; ``media`` is what the model sees of all. ``files`` are
    for code to work with, where the request declares that."""

    history: History | None
    input: list[Item]
    items: list[Item]
    context: list[Item]
    new_media: Mapping[str, Media]
    media: Mapping[str, str]
    files: tuple[GivenFile, ...]


async def hydrate(body: CreateResponse, *, project_id: int) -> Hydrated:
    """Raises InvalidRequest, NotFound, Unavailable."""
    for_code = any(isinstance(tool, CodeInterpreterTool) for tool in body.declared)
    with database_needed():
        history = await _history(body.previous_response_id, project_id)
        own = await _resolve(to_items(body.input, new_id), project_id)
        past = [item for turn in history.turns for item in _items(turn)] if history else []
        items = _unsealed(_join(history, past, own), Sealer(project_id))
        new = await intake.take_in(own, project_id=project_id, any_file=for_code)
        await pictures.take_back(own, project_id=project_id)
        shown = await media.shown(items, new, project_id=project_id)
    files = given_files(items, shown, new, project_id=project_id) if for_code else ()
    seen = told(items, shown, in_container=for_code)
    return Hydrated(history, own, seen, [*past, *own], new, {**shown.images, **shown.texts}, files)


def _unsealed(items: Sequence[Item], sealer: Sealer) -> list[Item]:
    """Reasoning that comes back sealed is shown to the model again."""
    return [_opened(item, sealer) if item["type"] == "reasoning" else item for item in items]


def _opened(item: Item, sealer: Sealer) -> Item:
    """What cannot be opened was made elsewhere: the rest of the item counts."""
    sealed = item.get("encrypted_content")
    if not sealed or item["content"] or (text := sealer.open(sealed)) is None:
        return item
    return item | {"content": [{"type": "reasoning_text", "text": text}]}


def offered(
    body: CreateResponse, items: Sequence[Item], ours: Sequence[GatewayFunctions]
) -> Offers:
    """The tools of the request and those that items bring; ``ours`` are the functions of those
    that the gateway runs. The choice must be possible. Raises InvalidRequest."""
    brought = [tool for item in items if item["type"] in BRINGS_TOOLS for tool in item["tools"]]
    if not (brought or body.declared or body.tool_choice or ours):
        return NO_OFFERS
    tools = [*body.declared, *known_tools(TOOLS.validate_python(brought))]
    offers = Offers(tools, body.tool_choice, ours=ours)
    if (problem := offers.impossible(body.tool_choice)) is not None:
        raise InvalidRequest(problem, code="invalid_value", param="tool_choice")
    return offers


async def _history(response_id: str | None, project_id: int) -> History | None:
    if response_id is None:
        return None
    try:
        return await in_thread(load_history, response_id, project_id=project_id)
    except ResponseNotFound as exc:
        raise InvalidRequest(
            f"Previous response with id '{response_id}' not found.",
            code="previous_response_not_found",
            param="previous_response_id",
        ) from exc
    except StillRunning as exc:
        raise InvalidRequest(
            f"Previous response '{response_id}' is still in progress.",
            code="previous_response_in_progress",
            param="previous_response_id",
        ) from exc


async def _resolve(items: Sequence[Item | ItemReference], project_id: int) -> list[Item]:
    """Put stored items in the place of references to them."""
    wanted = [item.id for item in items if isinstance(item, ItemReference)]
    found = await in_thread(find_items, wanted, project_id=project_id) if wanted else {}
    resolved: list[Item] = []
    for position, item in enumerate(items):
        if not isinstance(item, ItemReference):
            resolved.append(item)
        elif item.id in found:
            resolved.append(found[item.id])
        else:
            raise NotFound(
                f"Item with id '{item.id}' not found. Items are not persisted when `store` is set "
                "to false.",
                param=f"input[{position}].id",
            )
    return resolved


def _items(turn: StoredTurn) -> list[Item]:
    return turn.items if turn.messages is None else [ready_turn(turn.messages)]


def _join(history: History | None, past: list[Item], own: list[Item]) -> list[Item]:
    """The chain, ``past`` being its items, and the new input, without calls that nobody will ever
    answer."""
    if not has_calls([*past, *own]):
        return [*past, *own]
    answered = answered_calls([*past, *own])
    joined = [
        item
        for turn in (history.turns if history else ())
        for item in without_dead_calls(_items(turn), answered, completed=turn.completed)
    ]
    new = without_dead_calls(own, answered, completed=True)
    try:
        check_pairs([*joined, *new])
    except PairingError as exc:
        position = exc.position - len(joined)
        param = f"input[{own.index(new[position])}]" if position >= 0 else "input"
        raise InvalidRequest(str(exc), code="invalid_value", param=param) from exc
    return with_one_output_each([*joined, *new])
