"""What servers list: pages, names of all kinds, and schemas that are none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from mcp.server import Server
from mcp.types import Tool

from apps.tools.base import ToolRefused
from apps.tools.mcp.connection import LARGEST_LIST, MOST_TOOLS
from apps.tools.mcp.pool import LONGEST_DESCRIPTION
from apps.tools.mcp.probe import Probe, probe
from tests.tools.mcp.servers import OnHttp
from tests.tools.mcp.sessions import Store, call, declare, play, run_info, running, text
from tests.tools.mcp.specs import specify
from tests.tools.mcp.wicked import Spoiled, answering, listing, silence

ANYTHING = {"type": "object"}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    return Store(monkeypatch)


def tool(name: str, schema: Any = None) -> Tool:
    return Tool(name=name, input_schema=ANYTHING if schema is None else schema)


def listed(store: Store, server: Server[Any], **fields: Any) -> list[str]:
    """The names that a request sees."""
    found: list[str] = []

    async def scenario() -> None:
        async with running() as runtime, runtime.open(declare(), run_info()) as session:
            found.extend(function.name for function in session.functions)

    with OnHttp(server.streamable_http_app()) as http:
        store.add(url=http.url(), **fields)
        play(scenario())
    return found


def probed(server: Server[Any], **fields: Any) -> Probe:
    """What an operator is told."""
    with OnHttp(server.streamable_http_app()) as http:
        return asyncio.run(probe(specify(url=http.url(), **fields)))


@pytest.mark.parametrize("last_cursor", [None, ""])
def test_all_pages_are_read(store: Store, last_cursor: str | None) -> None:
    pages = [[tool(f"t{page}{n}") for n in range(2)] for page in range(3)]
    names = ["t00", "t01", "t10", "t11", "t20", "t21"]
    server = listing(pages, last_cursor=last_cursor)
    assert listed(store, server) == names
    assert [found.name for found in probed(server).tools] == names


ENDLESS = "list of tools does not end"


@pytest.mark.parametrize("size", [1, MOST_TOOLS + 1])
def test_a_list_without_end_is_refused(store: Store, size: int) -> None:
    server = listing([[tool(f"t{number}") for number in range(size)]], endless=True)
    with pytest.raises(ToolRefused, match=ENDLESS):
        listed(store, server)
    assert ENDLESS in probed(server).error


def test_all_pages_together_have_the_time_of_the_server(store: Store) -> None:
    server = listing([[tool("a")]], endless=True, pause=2.0)
    with pytest.raises(ToolRefused, match="did not answer within 5 seconds"):
        listed(store, server, connect_timeout=5.0)
    assert probed(server, connect_timeout=5.0).error == "It did not answer within 5 s."


def test_tools_whose_schema_is_none_are_left_out_and_the_others_stay(store: Store) -> None:
    wrong = {"type": "object", "properties": {"a": {"type": "text"}}}
    page = [tool("good"), tool("wrong", wrong)]
    assert listed(store, listing([page])) == ["good"]


def test_tools_that_cannot_be_named_or_say_too_much_are_left_out(store: Store) -> None:
    wordy = tool("wordy").model_copy(update={"description": "x" * (LONGEST_DESCRIPTION + 1)})
    page = [tool("good"), tool("x" * 256), tool("a\0b"), wordy]
    assert listed(store, listing([page])) == ["good"]


def test_a_list_that_is_too_large_in_all_its_pages_is_refused(store: Store) -> None:
    heavy = tool("heavy").model_copy(update={"description": "x" * (LARGEST_LIST // 3)})
    server = listing([[heavy]] * 4)
    with pytest.raises(ToolRefused, match="list of tools is too large"):
        listed(store, server)
    assert "list of tools is too large" in probed(server).error


def test_names_are_given_as_they_are_and_called_so(store: Store) -> None:
    names = ["files.read/all", "x" * 100, "ünï"]

    async def scenario() -> None:
        async with running() as runtime, runtime.open(declare(), run_info()) as session:
            assert [function.name for function in session.functions] == names
            for name in names:
                assert text(await call(session, name)) == name

    with OnHttp(listing([[tool(name) for name in names]]).streamable_http_app()) as http:
        store.add(url=http.url())
        play(scenario())


@pytest.fixture
def spoiled(store: Store) -> Iterator[Spoiled]:
    app = Spoiled(listing([[tool("a")]]).streamable_http_app(), {})
    with OnHttp(app) as http:
        store.add(url=http.url(), connect_timeout=5.0)
        yield app


NO_LIST = b'{"jsonrpc": "2.0", "id": 2, "result": {"tools": [{"name": 5}]}}'


@pytest.mark.parametrize(
    "spoil",
    [
        answering(200, NO_LIST),
        answering(200, b"secret"),
        answering(503, b"secret", "text/plain"),
        silence,
    ],
    ids=["no list", "no JSON", "an error", "silence"],
)
def test_a_server_that_cannot_list_is_refused_and_comes_back(spoiled: Spoiled, spoil: Any) -> None:
    async def scenario() -> None:
        async with running() as runtime:
            spoiled.spoils["tools/list"] = spoil
            with pytest.raises(ToolRefused, match="'toys' is unavailable") as refused:
                async with runtime.open(declare(), run_info()):
                    pass
            assert refused.value.param == "server_label"
            assert "secret" not in str(refused.value)
            spoiled.spoils.clear()
            async with runtime.open(declare(), run_info()) as session:
                assert text(await call(session, "a")) == "a"

    play(scenario())


def test_a_server_that_fails_again_and_again_is_left_alone_for_a_while(spoiled: Spoiled) -> None:
    async def scenario() -> None:
        async with running() as runtime:
            spoiled.spoils["tools/list"] = answering(503, b"")
            for _ in range(10):
                with pytest.raises(ToolRefused):
                    async with runtime.open(declare(), run_info()):
                        pass
            assert spoiled.asked.count("tools/list") == 3

    play(scenario())
