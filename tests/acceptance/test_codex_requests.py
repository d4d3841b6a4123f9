"""The shapes of request that Codex sends, which depend on what it knows of the model, and what
the upstream is told in the turns after."""

from __future__ import annotations

import json

from tests.acceptance.codex import (
    AGENTS,
    APPLY_PATCH,
    EXEC,
    EXEC_COMMAND,
    TOOL_SEARCH,
    WEB_SEARCH,
    Codex,
    Json,
    message,
)
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, reasoning, text, tool_call

PATCH = '*** Begin Patch\n*** Add File: b.txt\n+it\'s "quoted" \\ and é\n*** End Patch\n'
SEARCHED = {"tools": [EXEC_COMMAND, APPLY_PATCH, TOOL_SEARCH, WEB_SEARCH]}
SCRIPTED = {"parallel_tool_calls": False, "reasoning": {"effort": "low", "context": "all_turns"}}


def asked(vllm: ScriptedVLLM) -> Json:
    """The last request to the upstream."""
    body: Json = vllm.chats[-1].body
    return body


def offered(vllm: ScriptedVLLM) -> list[str]:
    return [tool["function"]["name"] for tool in asked(vllm)["tools"]]


def past(call: Json, name: str, arguments: str) -> Json:
    """How the upstream is told of a call."""
    function = {"name": name, "arguments": arguments}
    return {"id": call["call_id"], "type": "function", "function": function}


def said(call: Json, content: object) -> Json:
    return {"role": "tool", "tool_call_id": call["call_id"], "content": content}


def test_a_command_is_run_and_its_output_told(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    codex = Codex(gateway, tools=[EXEC_COMMAND, AGENTS, WEB_SEARCH])
    vllm.script(
        reasoning("I ", "look.") + tool_call("exec_command", '{"cmd": "echo ', 'hi"}'),
        text("All ", "done."),
    )
    thought, call = codex.turn()
    assert codex.headers["x-gateway-ignored-tools"] == "web_search"
    assert offered(vllm) == ["exec_command", "multi_agent_v1__spawn_agent"]
    assert (call["type"], call["name"]) == ("function_call", "exec_command")
    assert json.loads(call["arguments"]) == {"cmd": "echo hi"}
    assert thought["encrypted_content"]
    output = {"type": "function_call_output", "id": "fco_01a20aad-41e8", "output": "hi\n"}
    (answer,) = codex.turn(output | {"call_id": call["call_id"]})
    assert answer["content"][0]["text"] == "All done."
    assert asked(vllm)["messages"] == [
        {"role": "system", "content": "You are a coding agent.\n\n<skills>None."},
        {"role": "user", "content": "<environment_context>"},
        {"role": "user", "content": "Do it."},
        {
            "role": "assistant",
            "reasoning": "I look.",
            "tool_calls": [past(call, "exec_command", '{"cmd": "echo hi"}')],
        },
        said(call, "hi\n"),
    ]
    assert asked(vllm).keys() == {
        "model", "messages", "stream", "stream_options",
        "tools", "tool_choice", "parallel_tool_calls",
    }  # fmt: skip


def test_sealed_reasoning_is_enough(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    codex = Codex(gateway)
    vllm.script(reasoning("Hm.") + text("One."), text("Two."))
    thought, _ = codex.turn()
    thought["content"] = None
    codex.turn(message("user", "Go on."))
    assert asked(vllm)["messages"][3] == {
        "role": "assistant",
        "content": "One.",
        "reasoning": "Hm.",
    }


def test_a_patch_travels_as_text(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    codex = Codex(gateway, **SEARCHED)
    wrapped = json.dumps({"input": PATCH})
    pieces = [wrapped[start : start + 5] for start in range(0, len(wrapped), 5)]
    vllm.script(text("Patching.") + tool_call("apply_patch", *pieces), text("Done."))
    _, call = codex.turn()
    assert (call["type"], call["input"]) == ("custom_tool_call", PATCH)
    output = {"type": "custom_tool_call_output", "id": "ctco_01a20aa8", "output": "Success."}
    codex.turn(output | {"call_id": call["call_id"]})
    *_, assistant, tool = asked(vllm)["messages"]
    ((told,), content) = assistant["tool_calls"], assistant["content"]
    assert content == "Patching."
    assert json.loads(told["function"]["arguments"]) == {"input": PATCH}
    assert tool == said(call, "Success.")


def test_found_tools_can_be_called_under_the_names_that_are_told(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    codex = Codex(gateway, **SEARCHED)
    add = {"type": "function", "name": "add", "description": "Adds.", "strict": False}
    found = {"type": "namespace", "name": "mcp__calc", "description": "Sums.", "tools": [add]}
    vllm.script(
        tool_call("tool_search", '{"query": "add numbers"}'),
        tool_call("mcp__calc__add", '{"a": 1, "b": 2}'),
        text("3"),
    )
    (search,) = codex.turn()
    assert (search["type"], search["arguments"]) == ("tool_search_call", {"query": "add numbers"})
    output = {"type": "tool_search_output", "execution": "client", "tools": [found]}
    (call,) = codex.turn(output | {"call_id": search["call_id"], "status": "completed"})
    assert offered(vllm) == ["exec_command", "apply_patch", "tool_search", "mcp__calc__add"]
    told = json.loads(asked(vllm)["messages"][-1]["content"])
    assert told["tools"][0]["tools"] == [{"name": "mcp__calc__add", "description": "Adds."}]
    assert (call["namespace"], call["name"]) == ("mcp__calc", "add")
    parts = [{"type": "input_text", "text": part} for part in ("Wall time: 0.1 s", "3")]
    codex.turn({"type": "function_call_output", "call_id": call["call_id"], "output": parts})
    assistant, tool = asked(vllm)["messages"][-2:]
    assert assistant["tool_calls"] == [past(call, "mcp__calc__add", '{"a": 1, "b": 2}')]
    assert [part["text"] for part in tool["content"]] == ["Wall time: 0.1 s", "3"]


def test_tools_may_come_with_the_input(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    codex = Codex(gateway, EXEC, **SCRIPTED)
    vllm.script(tool_call("functions__exec", '{"input": "text(1)"}'), text("Done."))
    (call,) = codex.turn()
    assert offered(vllm) == ["functions__exec", "functions__wait"]
    assert asked(vllm)["parallel_tool_calls"] is False
    assert (call["type"], call["namespace"], call["name"]) == (
        "custom_tool_call",
        "functions",
        "exec",
    )
    output = {"type": "custom_tool_call_output", "call_id": call["call_id"], "output": "1"}
    codex.turn(output)
    assistant, tool = asked(vllm)["messages"][-2:]
    assert assistant["tool_calls"] == [past(call, "functions__exec", '{"input":"text(1)"}')]
    assert tool == said(call, "1")


def test_a_running_script_may_report_at_once_and_later(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    codex = Codex(gateway, EXEC, **SCRIPTED)
    vllm.script(
        tool_call("functions__exec", '{"input": "notify(1)"}'), text("Good."), text("Done.")
    )
    (call,) = codex.turn()
    output = {"type": "custom_tool_call_output", "call_id": call["call_id"]}
    parts = [{"type": "input_text", "text": "Script running"}]
    codex.turn(output | {"output": parts}, output | {"name": "exec", "output": "half way"})
    assert [part["text"] for part in asked(vllm)["messages"][-1]["content"]] == [
        "Script running",
        "half way",
    ]
    codex.turn(output | {"name": "exec", "output": "at the end"})
    *_, tool, assistant, news = asked(vllm)["messages"]
    assert (tool["role"], assistant["content"]) == ("tool", "Good.")
    assert news["role"] == "user"
    assert [part["text"] for part in news["content"]] == ["More output of exec:\n", "at the end"]


def test_agents_talk_to_each_other(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    task = {
        "type": "agent_message",
        "id": "amsg_01a20aaa-25b4-7a93-a63a-dacce1f7fa66",
        "author": "/root",
        "recipient": "/root/sub",
        "content": [
            {"type": "input_text", "text": "Message Type: NEW_TASK\nPayload:\n"},
            {"type": "encrypted_content", "encrypted_content": "Look around."},
        ],
    }
    vllm.script(text("Nothing here."))
    Codex(gateway, EXEC, **SCRIPTED).turn(task)
    assert asked(vllm)["messages"][-1] == {
        "role": "user",
        "content": "Message Type: NEW_TASK\nPayload:\nLook around.",
    }


def test_a_session_is_summed_up_by_an_ordinary_turn(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    codex = Codex(gateway, tools=[], parallel_tool_calls=False)
    vllm.script(text("A summary."))
    codex.turn(message("user", "Sum it up."))
    assert codex.end["status"] == "completed"
    assert "tools" not in asked(vllm)


def test_the_answer_may_have_to_fit_a_schema(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    wanted = {"name": "codex_output_schema", "schema": schema, "strict": True}
    vllm.script(text('{"a": 1}'))
    Codex(gateway, text={"format": {"type": "json_schema", **wanted}}).turn()
    assert asked(vllm)["response_format"] == {"type": "json_schema", "json_schema": wanted}


def test_half_of_a_script_is_not_there_to_be_run(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    codex = Codex(gateway, EXEC, **SCRIPTED)
    half = tool_call("functions__exec", '{"input": "await tools.exec_command({cmd: 1});')
    vllm.script(half.but(finish_reason="length"))
    assert codex.turn() == []
    assert codex.end["status"] == "incomplete"
