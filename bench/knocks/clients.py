"""The clients: conversations of many kinds, some with bad manners, and what is seen of them."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from bench.connection import Broken, Connection
from bench.dialects import RESPONSES, request
from bench.knocks.served import Served
from bench.script import Script
from bench.verify import Whole

STALLED = 5.0
"""Seconds for which a client reads nothing."""
END = re.compile(
    rb"^event: response\.(?:completed|failed|incomplete)\ndata: (.*)\n\n", re.MULTILINE
)
RESPONSE_ID = re.compile(rb'"id":"(resp_[0-9a-f]+)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of client. Its conversations have so many ``turns``."""

    script: Script
    tools: Sequence[dict[str, Any]] = ()
    streamed: bool = True
    turns: int = 5
    leaves: bool = False  #: every other time, before the end
    stalls: bool = False  #: reads nothing for a while, then leaves


TALK = Script(tokens=40, delay=5)
FUNCTION = Script(tokens=24, reasoning=16, tool=1, delay=5)
HOSTED = Script(tokens=16, hosted=1, delay=5)
CODE = ({"type": "code_interpreter", "container": {"type": "auto"}},)
LONG = 40
"""Turns of a conversation with code, each of which has a container of its own."""


def kinds(mcp_url: str) -> list[Kind]:
    """One client each: text, a client's functions, code, an MCP server of the operator and of the
    request; streamed and not."""
    configured = ({"type": "mcp", "server_label": "bench"},)
    brought = ({"type": "mcp", "server_label": "own", "server_url": mcp_url,
                "require_approval": "never", "allowed_tools": ["wait"]},)  # fmt: skip
    return [
        Kind(script=TALK),
        Kind(script=TALK, streamed=False),
        Kind(script=FUNCTION, turns=1),
        Kind(script=FUNCTION, turns=1, streamed=False),
        Kind(script=HOSTED, tools=CODE, turns=LONG),
        Kind(script=HOSTED, tools=CODE, turns=LONG, streamed=False),
        Kind(script=HOSTED, tools=configured),
        Kind(script=HOSTED, tools=configured, streamed=False),
        Kind(script=HOSTED, tools=brought),
        Kind(script=TALK, leaves=True),
        Kind(script=HOSTED, tools=CODE, turns=LONG, leaves=True),
        Kind(script=HOSTED, tools=configured, leaves=True),
        Kind(script=Script(tokens=20_000), stalls=True),
    ]


@dataclass(slots=True)
class Seen:
    """What clients saw: how answers ended, and the calls in them. ``told`` are the responses that
    they know to be completed."""

    ends: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    told: set[str] = field(default_factory=set)

    def answer(self, kind: Kind, heard: Whole, *, broken: bool) -> str | None:
        """Count an answer. Gives the id of the response, if it was completed."""
        ends = END.findall(heard.content) if kind.streamed else [heard.content]
        if heard.status >= 400:
            self.ends[f"HTTP {heard.status}"] += 1
            return None
        if broken and (not ends or not kind.streamed):
            self.ends["connection lost"] += 1
            return None
        if len(ends) != 1:
            self.ends[f"{len(ends)} terminal events"] += 1
            return None
        return self._response(kind, orjson.loads(ends[0]), heard.content)

    def _response(self, kind: Kind, end: dict[str, Any], content: bytes) -> str | None:
        response = end["response"] if kind.streamed else end
        for item in response["output"]:
            if item["type"] in ("code_interpreter_call", "mcp_call"):
                self.calls[f"{item['type']} {item['status']}"] += 1
        if response["status"] != "completed":
            self.ends[f"told that it {response['status']}"] += 1
            return None
        if kind.streamed and sum(map(content.count, RESPONSES.deltas)) != kind.script.deltas:
            self.ends["wrong number of tokens"] += 1
            return None
        self.ends["completed"] += 1
        self.told.add(response["id"])
        return str(response["id"])


class Client:
    """Conversations, one after another, a request every ``period`` seconds or as fast as they are
    answered."""

    def __init__(self, served: Served, kind: Kind, seen: Seen, period: float) -> None:
        self._served, self._kind, self._seen, self._period = served, kind, seen, period
        self._connection = Connection("127.0.0.1", served.port)
        self._previous: str | None = None
        self._turn = 0

    async def run(self, until: float) -> None:
        due = time.monotonic() + random.random() * self._period
        while (now := time.monotonic()) < until:
            await asyncio.sleep(max(0.0, min(due, until) - now))
            due = max(due + self._period, time.monotonic())
            if self._kind.stalls:
                await self._stall()
            else:
                await self._ask()
        self._connection.close()

    async def _ask(self) -> None:
        kind, heard, broken = self._kind, Whole(), False
        self._turn += 1
        asked = self._connection.ask(self._request(), heard)
        try:
            if kind.leaves and self._turn % 2 == 0:
                async with asyncio.timeout(random.uniform(0.02, 0.3)):
                    await asked
            else:
                await asked
        except TimeoutError:
            self._connection.close()
            self._connection = Connection("127.0.0.1", self._served.port)
            self._seen.ends["left"] += 1
            return
        except Broken:
            broken = True
        previous = self._seen.answer(kind, heard, broken=broken)
        self._previous = previous if self._turn % kind.turns else None
        if previous is None:
            await asyncio.sleep(0.1)

    async def _stall(self) -> None:
        """Read nothing, and leave."""
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            try:
                client.connect(("127.0.0.1", self._served.port))
                client.sendall(self._request())
            except OSError:
                self._seen.ends["connection lost"] += 1
                return
            await asyncio.sleep(STALLED)
        self._seen.ends["stalled, then left"] += 1

    def _request(self) -> bytes:
        return request(
            RESPONSES,
            self._kind.script,
            host=f"127.0.0.1:{self._served.port}",
            streamed=self._kind.streamed,
            token=self._served.token,
            previous=self._previous,
            tools=self._kind.tools,
        )
