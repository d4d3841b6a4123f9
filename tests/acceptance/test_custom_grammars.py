"""Custom tools with grammars: those that cannot be used are refused by name, those of a tool that has
to be called bind what the model writes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.exchanges import create, stream
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, reasoning, text, tool_call

Json = dict[str, Any]

SQL = 'start: "SELECT " NAME " FROM " TABLE\nNAME: /[a-z]+/\nTABLE: "users" | "cities"\n'
QUERY = "SELECT name FROM users"


def custom(syntax: str, definition: str, name: str = "sql") -> Json:
    form = {"type": "grammar", "syntax": syntax, "definition": definition}
    return {"type": "custom", "name": name, "format": form}


LARK = custom("lark", SQL)
REGEX = custom("regex", "[0-9]{3}", name="code")
CALL_SQL = {"type": "custom", "name": "sql"}


# --- Grammars that are none -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("syntax", "definition", "told"),
    [
        ("lark", 'start: "a" (\n', "Expected token ')'"),
        ("lark", "start: word\n", 'unknown name: "word"'),
        ("lark", 'root: "a"\n', "no start rule"),
        ("lark", "", "Empty grammar"),
        ("lark", "start: /[a-z/\n", "unclosed character class"),
        ("regex", "[0-9", "unclosed character class"),
        ("regex", "(?=a)b", "look-around"),
    ],
)
def test_it_is_refused_by_its_name(
    gateway: Gateway, syntax: str, definition: str, told: str
) -> None:
    body = {"model": "tiny", "input": "Hi", "tools": [LARK, custom(syntax, definition, "other")]}
    answer = gateway.http.post("/v1/responses", json=body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["code"], error["param"]) == ("invalid_value", "tools[1].format.definition")
    assert told in error["message"]
    assert "\n" not in error["message"]


def test_it_may_stand_in_a_group_or_come_with_the_input(gateway: Gateway) -> None:
    group = {"type": "namespace", "name": "db", "tools": [REGEX, custom("regex", "(")]}
    more = {"type": "additional_tools", "role": "developer", "tools": [group]}
    for body, path in (
        ({"input": "Hi", "tools": [group]}, "tools[0]"),
        ({"input": [{"role": "user", "content": "Hi"}, more]}, "input[1].tools[0]"),
    ):
        answer = gateway.http.post("/v1/responses", json={"model": "tiny", **body})
        assert answer.json()["error"]["param"] == f"{path}.tools[1].format.definition"


def test_it_is_refused_where_tokens_are_counted(gateway: Gateway) -> None:
    body = {"model": "tiny", "input": "Hi", "tools": [custom("lark", "start: word")]}
    answer = gateway.http.post("/v1/responses/input_tokens", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_value")


def test_they_may_not_be_too_long_together(gateway: Gateway) -> None:
    half = "start: /a/ " + " " * 60_000
    tools = [custom("lark", half, name) for name in ("a", "b")]
    answer = gateway.http.post(
        "/v1/responses", json={"model": "tiny", "input": "Hi", "tools": tools}
    )
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (
        "string_above_max_length", "tools[1].format.definition",
    )  # fmt: skip


def test_what_is_too_complex_is_refused_soon(gateway: Gateway) -> None:
    deep = custom("lark", "start: " + "(" * 5000 + '"a"' + ")" * 5000)
    answer = gateway.http.post(
        "/v1/responses", json={"model": "tiny", "input": "Hi", "tools": [deep]}
    )
    assert answer.status_code == 400
    assert len(answer.text) < 1000


# --- A tool that has to be called -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "constraint", "written"),
    [(LARK, {"grammar": SQL}, QUERY), (REGEX, {"regex": "[0-9]{3}"}, "123")],
)
@pytest.mark.parametrize("required", [True, False])
def test_the_answer_is_its_input_and_bound_by_its_grammar(
    gateway: Gateway,
    vllm: ScriptedVLLM,
    tool: Json,
    constraint: Json,
    written: str,
    required: bool,
) -> None:
    vllm.script(text(written))
    choice = "required" if required else {"type": "custom", "name": tool["name"]}
    response = create(gateway, tools=[tool], tool_choice=choice)
    (call,) = response["output"]
    assert (call["type"], call["name"], call["input"], call["status"]) == (
        "custom_tool_call", tool["name"], written, "completed",
    )  # fmt: skip
    sent = vllm.requests[-1].body
    assert sent["structured_outputs"] == constraint
    assert sent["tool_choice"] == "none"
    assert [shown["function"]["name"] for shown in sent["tools"]] == [tool["name"]]
    assert f"the input of the tool {tool['name']}," in sent["messages"][0]["content"]


def test_the_input_streams_as_it_is_written(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(reasoning("Hm.") + text("\n", 'SELECT "', "ä\\", " FROM users", "\n"))
    events = stream(gateway, tools=[LARK, REGEX], tool_choice=CALL_SQL)
    deltas = [e["delta"] for e in events if e["type"] == "response.custom_tool_call_input.delta"]
    assert "".join(deltas) == '\nSELECT "ä\\ FROM users\n'
    assert len(deltas) == 5
    thought, call = events[-1]["response"]["output"]
    assert (thought["type"], call["input"]) == ("reasoning", "".join(deltas))


def test_the_schema_of_an_answer_does_not_bind_the_input(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(text(QUERY))
    schema = {"type": "json_schema", "name": "s", "schema": {"type": "object"}}
    create(gateway, tools=[LARK], tool_choice="required", text={"format": schema})
    assert "response_format" not in vllm.requests[-1].body


def test_an_input_that_the_limit_cut_is_half_a_call(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(text("SELECT na", finish_reason="length"))
    response = create(gateway, tools=[LARK], tool_choice=CALL_SQL)
    (call,) = response["output"]
    assert (response["status"], call["status"], call["input"]) == (
        "incomplete", "incomplete", "SELECT na",
    )  # fmt: skip


def test_an_answer_without_a_word_is_no_call(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(reasoning("Hm."))
    response = create(gateway, tools=[LARK], tool_choice=CALL_SQL)
    assert [item["type"] for item in response["output"]] == ["reasoning", "message"]


def test_a_call_that_comes_all_the_same_is_one(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(tool_call("sql", f'{{"input": "{QUERY}"}}'))
    (call,) = create(gateway, tools=[LARK], tool_choice=CALL_SQL)["output"]
    assert call["input"] == QUERY


def test_the_call_goes_on_as_any_other(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(text(QUERY), text("Ada."))
    first = create(gateway, tools=[LARK], tool_choice=CALL_SQL)
    answer = {
        "type": "custom_tool_call_output",
        "call_id": first["output"][0]["call_id"],
        "output": "Ada",
    }
    create(gateway, input=[answer], previous_response_id=first["id"], tools=[LARK])
    sent = vllm.requests[-1].body
    assert sent["messages"][1]["tool_calls"][0]["function"] == {
        "name": "sql",
        "arguments": f'{{"input":"{QUERY}"}}',
    }
    assert (sent["tool_choice"], "structured_outputs" in sent) == ("auto", False)


def test_with_several_tools_to_choose_from_the_model_writes_a_call(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(tool_call("sql", f'{{"input": "{QUERY}"}}'))
    create(gateway, tools=[LARK, REGEX], tool_choice="required")
    sent = vllm.requests[-1].body
    assert (sent["tool_choice"], "structured_outputs" in sent) == ("required", False)


def test_a_tool_without_a_grammar_is_called_as_ever(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(tool_call("sql", '{"input": "x"}'))
    create(gateway, tools=[{"type": "custom", "name": "sql"}], tool_choice=CALL_SQL)
    assert vllm.requests[-1].body["tool_choice"]["type"] == "function"
