"""``GET /v1/mcp/servers``: what a project may use, and which tools that has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.acceptance.guarded import Guarded
from tests.gateway import Gateway
from tests.tools.mcp.servers import OnHttp, toys

SERVERS = "/v1/mcp/servers"


@pytest.fixture(scope="module")
def running() -> Iterator[OnHttp]:
    with OnHttp(toys().streamable_http_app(), token="t0ken") as server:
        yield server


def bring_in(gateway: Gateway, folder: Path, servers: dict[str, Any]) -> None:
    """Change the configuration beside the running server."""
    file = folder / "mcp.json"
    file.write_text(json.dumps({"mcpServers": servers}))
    gateway.manage("mcp", "import", str(file))


def code(answer: httpx.Response) -> tuple[int, str | None]:
    error: str | None = answer.json()["error"]["code"]
    return answer.status_code, error


def listed(gateway: Gateway) -> dict[str, Any]:
    return {server["server_label"]: server for server in gateway.http.get(SERVERS).json()["data"]}


def test_servers_and_their_tools(
    stateful_gateway: Gateway, running: OnHttp, tmp_path: Path
) -> None:
    gateway = stateful_gateway
    toys = {
        "url": running.url(),
        "auth": "t0ken",
        "description": "Toys",
        "alwaysAllow": ["look"],
    }
    off = {"url": running.url(), "disabled": True}
    bring_in(gateway, tmp_path, {"toys": toys, "off": off})
    servers = listed(gateway)
    assert servers["toys"] == {
        "object": "mcp.server",
        "server_label": "toys",
        "server_description": "Toys",
        "status": "available",
        "require_approval": "per_tool",
        "tool_count": None,
    }
    assert servers["off"]["status"] == "disabled"

    answer = gateway.http.get(f"{SERVERS}/toys/tools").json()
    assert (answer["object"], answer["server_label"]) == ("list", "toys")
    look, environment = answer["data"]
    assert (look["name"], look["description"]) == ("look", "Looks for a toy.")
    assert look["input_schema"]["required"] == ["q"]
    assert look["annotations"] == {"readOnlyHint": True}
    assert (look["require_approval"], environment["require_approval"]) == ("never", "always")
    assert listed(gateway)["toys"]["tool_count"] == 2
    assert code(gateway.http.get(f"{SERVERS}/off/tools")) == (409, "mcp_server_disabled")


def test_a_change_counts_at_the_next_request(
    gateway: Gateway, running: OnHttp, tmp_path: Path
) -> None:
    bring_in(gateway, tmp_path, {"changing": {"url": running.url(), "auth": "t0ken"}})
    assert len(gateway.http.get(f"{SERVERS}/changing/tools").json()["data"]) == 2
    bring_in(gateway, tmp_path, {"changing": {"url": running.url(), "allowedTools": ["look"]}})
    assert len(gateway.http.get(f"{SERVERS}/changing/tools").json()["data"]) == 1
    bring_in(gateway, tmp_path, {"changing": {"url": running.url(), "disabled": True}})
    assert gateway.http.get(f"{SERVERS}/changing/tools").status_code == 409


def test_a_list_is_not_asked_for_twice(gateway: Gateway, running: OnHttp, tmp_path: Path) -> None:
    bring_in(gateway, tmp_path, {"toys": {"url": running.url(), "auth": "t0ken"}})
    gateway.http.get(f"{SERVERS}/toys/tools")
    before = len(running.headers)
    assert gateway.http.get(f"{SERVERS}/toys/tools").status_code == 200
    assert len(running.headers) == before


def test_a_server_that_cannot_be_reached_is_a_503_that_says_nothing_of_it(
    gateway: Gateway, running: OnHttp, tmp_path: Path
) -> None:
    bring_in(gateway, tmp_path, {"locked": {"url": running.url(), "auth": "wrong"}})
    answer = gateway.http.get(f"{SERVERS}/locked/tools")
    assert code(answer) == (503, "mcp_server_unavailable")
    assert "Retry-After" in answer.headers
    assert "secret of the tester" not in answer.text
    assert running.url() not in answer.text
    before = len(running.headers)
    assert gateway.http.get(f"{SERVERS}/locked/tools").status_code == 503
    assert len(running.headers) == before  # not asked again at once


@pytest.mark.parametrize("label", ["nope", "a b", "ż"])
def test_an_unknown_server_is_a_404(gateway: Gateway, label: str) -> None:
    assert code(gateway.http.get(f"{SERVERS}/{label}/tools")) == (404, "mcp_server_not_found")


def test_what_belongs_to_others_does_not_exist(
    guarded: Guarded, running: OnHttp, tmp_path: Path
) -> None:
    theirs = {"url": running.url(), "auth": "t0ken", "gateway": {"projects": ["theirs"]}}
    bring_in(guarded.gateway, tmp_path, {"private": theirs})
    labels = {
        token: [s["server_label"] for s in guarded.ask(token, "GET", SERVERS).json()["data"]]
        for token in (guarded.ours, guarded.theirs)
    }
    assert labels == {guarded.ours: [], guarded.theirs: ["private"]}
    path = f"{SERVERS}/private/tools"
    assert code(guarded.ask(guarded.ours, "GET", path)) == (404, "mcp_server_not_found")
    assert guarded.ask(guarded.theirs, "GET", path).status_code == 200
    assert code(guarded.ask(None, "GET", SERVERS)) == (401, "invalid_api_key")
