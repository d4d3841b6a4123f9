"""References to stored items, of every kind."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.exchanges import create, refused
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, calls, reasoning, text

Json = dict[str, Any]

TOOLS: list[Json] = [{"type": "function", "name": "get_time"}]
FORMS: dict[str, Json] = {
    "typed": {"type": "item_reference"},
    "null type": {"type": None},
    "bare": {},
}


@pytest.fixture
def stored(stateful_gateway: Gateway, vllm: ScriptedVLLM) -> list[Json]:
    """A conversation's items as the lists show them: each kind once."""
    vllm.script(reasoning("I look.") + text("\n\n", "Wait.") + calls(("get_time", {"z": 1})))
    first = create(stateful_gateway, input="Time?", tools=TOOLS)
    call_id = first["output"][2]["call_id"]
    output = {"type": "function_call_output", "call_id": call_id, "output": "noon"}
    second = create(stateful_gateway, input=[output], previous_response_id=first["id"])
    listed = stateful_gateway.http.get(
        f"/v1/responses/{second['id']}/input_items", params={"order": "asc"}
    )
    items: list[Json] = listed.json()["data"]
    assert [item["type"] for item in items] == [
        "message",
        "reasoning",
        "message",
        "function_call",
        "function_call_output",
    ]
    return items


@pytest.mark.parametrize("form", FORMS)
def test_references_stand_for_their_items(
    stateful_gateway: Gateway, vllm: ScriptedVLLM, stored: list[Json], form: str
) -> None:
    references = [{**FORMS[form], "id": item["id"]} for item in stored]
    create(stateful_gateway, input=[*references, {"role": "user", "content": "Thanks"}])
    call = stored[3]
    assert vllm.requests[-1].body["messages"] == [
        {"role": "user", "content": "Time?"},
        {
            "role": "assistant",
            "content": "Wait.",
            "reasoning": "I look.",
            "tool_calls": [
                {
                    "id": call["call_id"],
                    "type": "function",
                    "function": {"name": "get_time", "arguments": '{"z": 1}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": call["call_id"], "content": "noon"},
        {"role": "user", "content": "Thanks"},
    ]


def test_what_was_referred_to_is_part_of_the_new_response(
    stateful_gateway: Gateway, stored: list[Json]
) -> None:
    references = [{"type": "item_reference", "id": item["id"]} for item in stored]
    response = create(stateful_gateway, input=references)
    listed = stateful_gateway.http.get(
        f"/v1/responses/{response['id']}/input_items", params={"order": "asc"}
    )
    assert listed.json()["data"] == stored


def test_only_the_output_of_a_call_may_be_new(
    stateful_gateway: Gateway, vllm: ScriptedVLLM, stored: list[Json]
) -> None:
    call = stored[3]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "one"}
    create(stateful_gateway, input=[{"type": "item_reference", "id": call["id"]}, output])
    assert vllm.requests[-1].body["messages"][-1]["content"] == "one"


@pytest.mark.parametrize("item_id", ["msg_unknown", "%s", "ż"])
def test_an_unknown_item_is_not_found(
    stateful_gateway: Gateway, vllm: ScriptedVLLM, item_id: str
) -> None:
    asked = {
        "model": "tiny",
        "input": [
            {"role": "user", "content": "Hi"},
            {"type": "item_reference", "id": item_id},
        ],
    }
    answer = stateful_gateway.http.post("/v1/responses", json=asked)
    message = refused(answer, 404, code=None, param="input[1].id")
    assert message.startswith(f"Item with id '{item_id}' not found.")
    assert vllm.requests == []


def test_an_item_that_was_not_stored_is_not_found(stateful_gateway: Gateway) -> None:
    item = create(stateful_gateway, store=False)["output"][0]
    asked = {"model": "tiny", "input": [{"type": "item_reference", "id": item["id"]}]}
    answer = stateful_gateway.http.post("/v1/responses", json=asked)
    assert "`store` is set to false" in refused(answer, 404, code=None, param="input[0].id")


def test_an_item_of_a_deleted_response_is_not_found(stateful_gateway: Gateway) -> None:
    response = create(stateful_gateway)
    stateful_gateway.http.delete(f"/v1/responses/{response['id']}")
    item = response["output"][0]
    asked = {"model": "tiny", "input": [{"type": "item_reference", "id": item["id"]}]}
    answer = stateful_gateway.http.post("/v1/responses", json=asked)
    refused(answer, 404, code=None, param="input[0].id")
