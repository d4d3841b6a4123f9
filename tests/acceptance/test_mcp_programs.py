"""stdio servers behind a real gateway with a real tool host."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import Gateway, sqlite_database
from tests.programs import ROOT, Program, eventually
from tests.scripted_vllm import ScriptedVLLM, text, tool_call
from tests.tools.mcp.wicked import Journal

TOOLS: Any = [{"type": "mcp", "server_label": "wicked"}]


class Machine:
    """A gateway that knows a wicked program, one for each conversation, and the tool host."""

    def __init__(self, folder: Path, upstream: str) -> None:
        self.journal = Journal(folder / "journal")
        self.gateway = Gateway(
            sqlite_database(folder), folder, upstream=upstream, settings={"SANDBOX": "off"}
        )
        server = {
            "command": sys.executable,
            "args": ["-m", "tests.tools.mcp.wicked", str(self.journal.path)],
            "cwd": str(ROOT),
            "gateway": {"approval": "never", "session_scope": "conversation"},
        }
        file = folder / "mcp.json"
        file.write_text(json.dumps({"mcpServers": {"wicked": server}}))
        self.gateway.manage("mcp", "import", str(file))
        self.client = self.gateway.client()
        self.host = self.start_host()

    def start_host(self) -> Program:
        host = Program([sys.executable, "manage.py", "toolhost"], env=self.gateway.environment)
        host.line("tool host ready")
        return host

    def kill_host(self) -> None:
        self.host.process.kill()
        self.host.close()

    def ask(self, **body: Any) -> Any:
        return self.client.responses.create(model="tiny", input="Go.", tools=TOOLS, **body)

    def close(self) -> None:
        self.client.close()
        self.gateway.close()
        self.host.close()


@pytest.fixture(scope="module")
def machine(vllm: ScriptedVLLM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    made = Machine(tmp_path_factory.mktemp("programs"), vllm.url)
    yield made
    made.close()


def call_of(response: Any) -> Any:
    return next(item for item in response.output if item.type == "mcp_call")


def test_a_conversation_has_a_program_of_its_own(machine: Machine, vllm: ScriptedVLLM) -> None:
    vllm.script(*[tool_call("wicked__process", "{}"), text("There.")] * 3)
    first = machine.ask()
    second = machine.ask(previous_response_id=first.id)
    other = machine.ask()
    process = call_of(first).output
    assert int(process) > 0
    assert call_of(second).output == process
    assert call_of(other).output != process


def test_a_client_who_leaves_ends_the_call_in_the_program(
    machine: Machine, vllm: ScriptedVLLM
) -> None:
    vllm.script(tool_call("wicked__progress", "{}"))
    body = {"model": "tiny", "input": "Go", "stream": True, "tools": TOOLS}
    with machine.gateway.http.stream("POST", "/v1/responses", json=body) as answer:
        assert ": keep-alive" in answer.iter_lines()
        assert "progress ends" not in machine.journal
    eventually(lambda: "progress ends" in machine.journal, what="the end of the call")


def test_a_call_whose_tool_host_is_killed_has_failed_and_is_not_made_again(
    machine: Machine, vllm: ScriptedVLLM
) -> None:
    vllm.script(tool_call("wicked__hang", "{}"), text("Sorry."))
    with ThreadPoolExecutor() as threads:
        asking = threads.submit(machine.ask)
        eventually(lambda: "hang begins" in machine.journal, what="the call")
        machine.kill_host()
        response = asking.result()
    call = call_of(response)
    assert (response.status, response.output_text) == ("completed", "Sorry.")
    assert (call.status, call.output) == ("failed", None)
    assert "ended in the middle of a call" in str(call.error)
    machine.host = machine.start_host()
    vllm.script(tool_call("wicked__echo", '{"text": "hi"}'), text("There."))
    assert call_of(machine.ask()).output == "hi"
    assert machine.journal.count("hang begins") == 1
