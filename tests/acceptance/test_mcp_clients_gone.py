"""Clients that wait for a call of an MCP server, and those that do not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.calculator import declare
from tests.gateway import Gateway
from tests.programs import eventually
from tests.scripted_vllm import ScriptedVLLM, tool_call
from tests.tools.mcp.servers import OnHttp
from tests.tools.mcp.wicked import Journal, wicked


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def server(journal: Journal) -> Iterator[OnHttp]:
    with OnHttp(wicked(journal).streamable_http_app()) as running:
        yield running


@pytest.mark.parametrize("tool", ["hang", "progress"])
def test_a_call_keeps_its_stream_alive_and_ends_at_the_server_when_the_client_leaves(
    mcp_gateway: Gateway, server: OnHttp, vllm: ScriptedVLLM, journal: Journal, tool: str
) -> None:
    vllm.script(tool_call(f"calc__{tool}", "{}"))
    body = {"model": "tiny", "input": "Go", "stream": True, "tools": [declare(server)]}
    with mcp_gateway.http.stream("POST", "/v1/responses", json=body) as answer:
        for line in answer.iter_lines():
            assert "mcp_call.completed" not in line
            assert "mcp_call.failed" not in line
            if line == ": keep-alive":
                # Before the loop is left, which closes the stream.
                assert f"{tool} ends" not in journal
                break
        else:
            raise AssertionError("the stream ended")
    eventually(lambda: f"{tool} ends" in journal, what="the end of the call at the server")
    outcome = "SELECT outcome FROM store_mcpcall WHERE tool = %s"
    eventually(lambda: mcp_gateway.database.query(outcome, tool) == [("cancelled",)])
