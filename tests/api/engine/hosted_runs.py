"""Runs that use hosted tools, on twins: an upstream of several turns and scripted tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from apps.api.engine import toolbox
from apps.api.engine.approvals import decide
from apps.api.engine.hydrate import offered
from apps.api.engine.recorder import Recorder
from apps.api.engine.runs import Run
from apps.api.engine.toolbox import open_tools
from apps.api.engine.turns import Turns
from apps.api.protocol.composer import ResponseComposer
from apps.api.protocol.context import Context
from apps.api.protocol.deltas import (
    Delta,
    Finish,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    TurnEnd,
    TurnUsage,
)
from apps.api.protocol.events import Event
from apps.api.protocol.ids import TurnIds, new_id
from apps.api.protocol.input_items import ItemReference, to_items
from apps.api.protocol.requests import INCLUDE_CODE_OUTPUTS, CreateResponse
from apps.api.protocol.response import new_response
from apps.api.protocol.types import Item
from apps.api.upstream.call_ids import CallIds, CallIdStyle
from apps.api.upstream.client import Turn
from apps.api.upstream.payload import to_chat_payload
from apps.store.snapshots import RunSnapshot
from apps.tools.base import RunInfo
from tests.api.engine.tool_twins import ScriptedRuntime
from tests.api.engine.twins import ScriptedTurn

Step = Sequence[Delta] | Exception

CODE = {"type": "code_interpreter", "container": {"type": "auto"}}
USAGE = TurnUsage(5, 1, 3, 2)


def mcp(label: str = "calc", **more: Any) -> dict[str, Any]:
    return {"type": "mcp", "server_label": label, **more}


def says(text: str) -> list[Delta]:
    """A turn that answers."""
    return [TextDelta(text), TurnEnd(Finish.STOP, USAGE)]


def calls(*wanted: tuple[str, str], finish: Finish = Finish.STOP) -> list[Delta]:
    """A turn that calls functions by their names for the model."""
    deltas: list[Delta] = []
    for number, (name, arguments) in enumerate(wanted):
        deltas += [ToolCallStart(number, name), ToolCallArguments(number, arguments)]
    return [*deltas, TurnEnd(finish, USAGE)]


class UpstreamOfTurns:
    """Plays its turns one after another, or refuses them; ``contexts`` are what it was asked
    with."""

    def __init__(self, *turns: Step, refusal: Exception | None = None) -> None:
        self._turns, self._refusal = iter(turns), refusal
        self.contexts: list[Context] = []
        self.attempts = 0

    async def open(self, context: Context, *, request_id: str, deadline: float) -> Turn:
        self.attempts += 1
        self.contexts.append(context)
        if self._refusal is not None:
            raise self._refusal
        return ScriptedTurn(next(self._turns))

    def messages(self, turn: int) -> list[dict[str, Any]]:
        """What the model saw in one turn."""
        ids = CallIds(CallIdStyle.INDEXED)
        found: list[dict[str, Any]] = to_chat_payload(self.contexts[turn], call_ids=ids)["messages"]
        return found

    def offered(self, turn: int) -> list[str]:
        return [offer.name for offer in self.contexts[turn].offers.sent]


class HostedRuns:
    """Makes runs with these tools, by their kinds or labels."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, runtimes: Mapping[str, ScriptedRuntime]):
        monkeypatch.setattr(toolbox, "runtime", runtimes.__getitem__)

    async def make(
        self,
        upstream: UpstreamOfTurns,
        *,
        past: Sequence[Item] = (),
        sees_images: bool = True,
        **request: Any,
    ) -> Run:
        body = CreateResponse.model_validate({"input": "Hi", **request})
        response = new_response(body, id="resp_1", model="tiny", created_at=10)
        own = [i for i in to_items(body.input, new_id) if not isinstance(i, ItemReference)]
        items = [*past, *own]
        ids = TurnIds()
        about = RunInfo(
            response_id="resp_1",
            root_id="resp_1",
            project_id=1,
            request_id="req_1",
            deadline=float("inf"),
        )
        tools = await open_tools(body, about, ids)
        offers = offered(body, items, tools.functions())
        snapshot = RunSnapshot(
            id="resp_1",
            project_id=1,
            key_id=None,
            request_id="req_1",
            previous_id=None,
            root_id="resp_1",
            owner="owner",
            model="tiny",
            kept=True,
            streamed=True,
            created_at=datetime.now(UTC),
        )
        context = Context(
            model="tiny",
            items=items,
            offers=offers,
            max_output_tokens=body.max_output_tokens,
            sees_images=sees_images,
        )
        return Run(
            turns=Turns(
                upstream, context, request_id="req_1", deadline=float("inf"), ids=ids, most=6
            ),
            composer=ResponseComposer(
                response,
                ids=ids,
                offers=offers,
                code_outputs=body.includes(INCLUDE_CODE_OUTPUTS),
                files=tools.files(),
            ),
            recorder=Recorder(snapshot, input_items=own, upstream=upstream),
            tools=tools,
            decided=await decide(own, items, tools, offers),
        )


def output_of(events: Sequence[Event]) -> list[dict[str, Any]]:
    """The output in the event that ends a stream."""
    found: list[dict[str, Any]] = orjson.loads(events[-1].json)["response"]["output"]
    return found


def stored_output(run: RunSnapshot) -> list[Item]:
    return [orjson.loads(item.json) for item in run.output]
