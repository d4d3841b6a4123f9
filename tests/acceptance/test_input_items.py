"""GET /v1/responses/{id}/input_items: everything that a response was given."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.exchanges import create
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, calls, reasoning, text
from tests.spec_tables import check_input_item_listed

Json = dict[str, Any]


def items(gateway: Gateway, response_id: str, query: str = "") -> Json:
    answer = gateway.http.get(f"/v1/responses/{response_id}/input_items?{query}")
    assert answer.status_code == 200, answer.text
    page: Json = answer.json()
    for item in page["data"]:
        check_input_item_listed(item)
    return page


def texts(page: Json) -> list[str]:
    return [item["content"][0]["text"] for item in page["data"]]


def messages(*words: str) -> list[Json]:
    return [{"role": "user", "content": word} for word in words]


def test_a_string_is_a_message_of_the_user(stateful_gateway: Gateway) -> None:
    page = items(stateful_gateway, create(stateful_gateway, input="Hi")["id"])
    (item,) = page["data"]
    item_id = item.pop("id")
    assert item_id.startswith("msg_")
    assert item == {
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_text", "text": "Hi"}],
    }
    assert page | {"data": []} == {
        "object": "list",
        "data": [],
        "first_id": item_id,
        "last_id": item_id,
        "has_more": False,
    }


def test_instructions_and_output_are_not_among_them(stateful_gateway: Gateway) -> None:
    response = create(stateful_gateway, instructions="Be kind.")
    assert texts(items(stateful_gateway, response["id"])) == ["Hi"]


def test_every_kind_is_listed_as_it_was_given(stateful_gateway: Gateway) -> None:
    given: list[Json] = [
        {"role": "developer", "content": "Be kind."},
        {"role": "system", "content": [{"type": "input_text", "text": "Be brief."}]},
        {"role": "user", "content": "Time?"},
        {
            "type": "reasoning",
            "id": "rs_theirs",
            "summary": [],
            "content": [{"type": "reasoning_text", "text": "Hm."}],
        },
        {
            "type": "function_call",
            "id": "fc_theirs",
            "call_id": "call_1",
            "name": "get_time",
            "arguments": "{}",
        },
        {"type": "function_call_output", "call_id": "call_1", "output": "noon"},
        {"role": "assistant", "content": "Noon."},
        {
            "type": "message",
            "id": "msg_theirs",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "refusal", "refusal": "No."}],
        },
    ]
    response = create(stateful_gateway, input=given)
    listed = items(stateful_gateway, response["id"], "order=asc")["data"]
    assert [item["type"] for item in listed] == [item.get("type", "message") for item in given]
    assert [item["id"] for item in listed if "theirs" in item["id"]] == [
        "rs_theirs",
        "fc_theirs",
        "msg_theirs",
    ]
    assert listed[4]["call_id"] == listed[5]["call_id"] == "call_1"
    assert listed[6]["content"][0]["type"] == "output_text"
    assert len({item["id"] for item in listed}) == len(listed)


def test_the_newest_come_first_unless_asked_otherwise(stateful_gateway: Gateway) -> None:
    response_id = create(stateful_gateway, input=messages("1", "2", "3"))["id"]
    assert texts(items(stateful_gateway, response_id)) == ["3", "2", "1"]
    assert texts(items(stateful_gateway, response_id, "order=desc")) == ["3", "2", "1"]
    assert texts(items(stateful_gateway, response_id, "order=asc")) == ["1", "2", "3"]


def test_the_chain_comes_before_the_own_input(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(reasoning("Hm") + text("\n\n", "A1") + calls(("stop", {})), text("A2"))
    first = create(stateful_gateway, input="Q1", tools=[{"type": "function", "name": "stop"}])
    call = first["output"][2]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "done"}
    second = create(
        stateful_gateway, input=[output, *messages("Q2")], previous_response_id=first["id"]
    )
    third = create(stateful_gateway, input="Q3", previous_response_id=second["id"])
    listed = items(stateful_gateway, third["id"], "order=asc")["data"]
    shown = [
        item["content"][0]["text"] if item["type"] == "message" else item["type"] for item in listed
    ]
    assert shown == [
        *("Q1", "reasoning", "A1", "function_call"),
        *("function_call_output", "Q2", "A2"),
        "Q3",
    ]
    assert listed[1:4] == first["output"]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_follow_each_other_without_gaps(stateful_gateway: Gateway, order: str) -> None:
    response_id = create(stateful_gateway, input=messages(*"1234567"))["id"]
    seen: list[str] = []
    after, more = "", True
    while more:
        page = items(stateful_gateway, response_id, f"limit=3&order={order}{after}")
        seen += texts(page)
        after, more = f"&after={page['last_id']}", page["has_more"]
    assert seen == list("1234567" if order == "asc" else "7654321")
    assert len(page["data"]) == 1


def test_a_full_last_page_has_no_more(stateful_gateway: Gateway) -> None:
    response_id = create(stateful_gateway, input=messages("1", "2"))["id"]
    assert items(stateful_gateway, response_id, "limit=2")["has_more"] is False
    page = items(stateful_gateway, response_id, "limit=1")
    assert page["has_more"] is True
    rest = items(stateful_gateway, response_id, f"limit=1&after={page['last_id']}")
    assert rest["has_more"] is False


def test_a_page_has_twenty_unless_asked_otherwise(stateful_gateway: Gateway) -> None:
    response_id = create(stateful_gateway, input=messages(*map(str, range(120))))["id"]
    assert len(items(stateful_gateway, response_id)["data"]) == 20
    assert len(items(stateful_gateway, response_id, "limit=100")["data"]) == 100


def test_the_official_client_pages_by_itself(stateful_gateway: Gateway) -> None:
    first = create(stateful_gateway, input=messages(*map(str, range(30))))
    second = create(stateful_gateway, input="last", previous_response_id=first["id"])
    with stateful_gateway.client() as client:
        pages = client.responses.input_items.list(second["id"], order="asc", limit=7)
        listed = [item.to_dict() for item in pages]
    said = [item["content"][0]["text"] for item in listed]  # type: ignore[index]
    assert said == [*map(str, range(30)), "Hello!", "last"]


def test_a_response_without_input_of_its_own_lists_the_chain(stateful_gateway: Gateway) -> None:
    first = create(stateful_gateway, input="Q1")
    answer = stateful_gateway.http.post(
        "/v1/responses", json={"model": "tiny", "previous_response_id": first["id"]}
    )
    page = items(stateful_gateway, answer.json()["id"], "order=asc")
    assert texts(page) == ["Q1", "Hello!"]
