"""Tools that clients execute and that are no functions: what the model is told of them, what its
calls become, and how they come back."""

from __future__ import annotations

from typing import Any

from tests.acceptance.exchanges import create, stream
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, text, tool_call

Json = dict[str, Any]

EXEC: Json = {"type": "custom", "name": "exec", "description": "Runs a script."}
GROUP: Json = {"type": "namespace", "name": "box", "description": "A box.", "tools": [EXEC]}
USER: Json = {"role": "user", "content": "Go"}


def functions(body: Json) -> list[str]:
    return [tool["function"]["name"] for tool in body["tools"]]


def test_a_custom_call_streams_its_text(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(tool_call("exec", '{"input": "ls', '\\n-l"}'))
    events = stream(gateway, tools=[EXEC])
    deltas = [e["delta"] for e in events if e["type"] == "response.custom_tool_call_input.delta"]
    assert deltas == ["ls", "\n-l"]
    (item,) = events[-1]["response"]["output"]
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "exec", "ls\n-l")


def test_its_output_is_told_to_the_model_with_the_call_as_json(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(tool_call("exec", '{"input": "ls"}'), text("Done."))
    first = create(gateway, tools=[EXEC])
    (call,) = first["output"]
    answer = {
        "type": "custom_tool_call_output",
        "call_id": call["call_id"],
        "output": [{"type": "input_text", "text": "a.txt"}],
    }
    create(gateway, input=[answer], previous_response_id=first["id"], tools=[EXEC])
    _, asked, told = vllm.requests[-1].body["messages"]
    assert asked["tool_calls"][0]["function"] == {"name": "exec", "arguments": '{"input":"ls"}'}
    assert (told["role"], told["content"]) == ("tool", "a.txt")


def test_tools_in_namespaces_have_flat_names_upstream_only(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(tool_call("box__exec", '{"input": "ls"}'))
    response = create(gateway, tools=[GROUP])
    assert functions(vllm.requests[-1].body) == ["box__exec"]
    (item,) = response["output"]
    assert (item["namespace"], item["name"]) == ("box", "exec")


def test_tools_may_come_with_the_input(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    more = {"type": "additional_tools", "role": "developer", "tools": [GROUP]}
    create(gateway, input=[more, USER])
    assert functions(vllm.requests[-1].body) == ["box__exec"]


def test_found_tools_can_be_called_in_the_next_request(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    search: Json = {"type": "tool_search", "execution": "client"}
    vllm.script(tool_call("tool_search", '{"query": "box"}'), text("Found."))
    first = create(gateway, tools=[search])
    (call,) = first["output"]
    assert (call["type"], call["arguments"]) == ("tool_search_call", {"query": "box"})
    found = {"type": "tool_search_output", "call_id": call["call_id"], "tools": [GROUP]}
    create(gateway, input=[found], previous_response_id=first["id"], tools=[search])
    assert functions(vllm.requests[-1].body) == ["tool_search", "box__exec"]


def test_a_shell_call_and_its_output(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(tool_call("shell", '{"commands": ["ls"]}'), text("Done."))
    first = create(gateway, tools=[{"type": "shell"}])
    (call,) = first["output"]
    assert call["action"]["commands"] == ["ls"]
    outcome = {"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}
    output = {"type": "shell_call_output", "call_id": call["call_id"], "output": [outcome]}
    create(gateway, input=[USER, call, output], tools=[{"type": "shell"}])
    assert '"stdout":"a"' in vllm.requests[-1].body["messages"][-1]["content"]


def test_a_patch_that_makes_no_sense_is_no_complete_call(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(tool_call("apply_patch", '{"type": "update_file"}'))
    (item,) = create(gateway, tools=[{"type": "apply_patch"}])["output"]
    assert (item["type"], item["status"]) == ("function_call", "incomplete")


def test_hosted_tools_are_left_out_and_named(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    tools = [{"type": "web_search", "external_web_access": False}, EXEC]
    answer = gateway.http.post(
        "/v1/responses", json={"model": "tiny", "input": "Hi", "tools": tools}
    )
    assert answer.headers["x-gateway-ignored-tools"] == "web_search"
    assert answer.json()["tools"] == tools
    assert functions(vllm.requests[-1].body) == ["exec"]


def test_tools_that_are_not_allowed_are_neither_sent_nor_called(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    add = {"type": "function", "name": "add"}
    choice = {"type": "allowed_tools", "mode": "auto", "tools": [add]}
    vllm.script(tool_call("exec", '{"input": "ls"}'))
    response = create(gateway, tools=[add, EXEC], tool_choice=choice)
    assert functions(vllm.requests[-1].body) == ["add"]
    assert [item["type"] for item in response["output"]] == ["message"]
