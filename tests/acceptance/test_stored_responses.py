"""Reading, listing and deleting stored responses."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.acceptance.exchanges import broken_off, create, refused
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, calls, failure, reasoning, text
from tests.spec_tables import check_response

Json = dict[str, Any]


def get(gateway: Gateway, path: str) -> Json:
    answer = gateway.http.get(f"/v1/responses{path}")
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def not_found(gateway: Gateway, response_id: str, *, method: str = "GET", below: str = "") -> None:
    answer = gateway.http.request(method, f"/v1/responses/{response_id}{below}")
    message = refused(answer, 404, code=None, param="response_id")
    assert message == f"Response with id '{response_id}' not found."


def test_get_gives_what_create_gave(stateful_gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(reasoning("Hm") + text("\n\n", "Yes") + calls(("stop", {"now": True})))
    response = create(
        stateful_gateway,
        tools=[{"type": "function", "name": "stop"}],
        metadata={"a": "b"},
        instructions="Be kind.",
    )
    assert get(stateful_gateway, f"/{response['id']}") == response


def test_the_official_client_reads_and_deletes(stateful_gateway: Gateway) -> None:
    with stateful_gateway.client() as client:
        made = client.responses.create(model="tiny", input="Hi")
        found = client.responses.retrieve(made.id, include=["web_search_call.action.sources"])
        assert found.to_dict() == made.to_dict()
        client.responses.delete(made.id)
        with pytest.raises(openai.NotFoundError) as caught:
            client.responses.retrieve(made.id)
    assert caught.value.param == "response_id"


def test_delete_says_what_it_did(stateful_gateway: Gateway) -> None:
    response_id = create(stateful_gateway)["id"]
    answer = stateful_gateway.http.delete(f"/v1/responses/{response_id}")
    assert answer.status_code == 200
    assert answer.json() == {"id": response_id, "object": "response", "deleted": True}


def test_what_was_deleted_is_gone(stateful_gateway: Gateway) -> None:
    response_id = create(stateful_gateway, input="Forget me")["id"]
    stateful_gateway.http.delete(f"/v1/responses/{response_id}")
    not_found(stateful_gateway, response_id)
    not_found(stateful_gateway, response_id, below="/input_items")
    not_found(stateful_gateway, response_id, method="DELETE")
    ids = [response["id"] for response in get(stateful_gateway, "?limit=100")["data"]]
    assert response_id not in ids
    for table in ("store_storeditem", "store_responsepayload"):
        query = f"SELECT * FROM {table} WHERE response_id = %s"
        assert stateful_gateway.database.query(query, response_id) == []


def test_what_follows_a_deleted_one_can_still_be_read(stateful_gateway: Gateway) -> None:
    first = create(stateful_gateway)["id"]
    second = create(stateful_gateway, previous_response_id=first)
    stateful_gateway.http.delete(f"/v1/responses/{first}")
    assert get(stateful_gateway, f"/{second['id']}") == second


@pytest.mark.parametrize("response_id", ["resp_unknown", "x", "resp_%s", "ż"])
def test_an_unknown_one_is_not_found(stateful_gateway: Gateway, response_id: str) -> None:
    not_found(stateful_gateway, response_id)
    not_found(stateful_gateway, response_id, below="/input_items")
    not_found(stateful_gateway, response_id, method="DELETE")


def test_an_id_with_a_zero_byte_is_not_found(stateful_gateway: Gateway) -> None:
    answer = stateful_gateway.http.get("/v1/responses/resp_%00")
    refused(answer, 404, code="unknown_url")


def test_a_stored_response_is_not_streamed_again(stateful_gateway: Gateway) -> None:
    response_id = create(stateful_gateway)["id"]
    answer = stateful_gateway.http.get(f"/v1/responses/{response_id}?stream=true")
    refused(answer, 400, code="unsupported_value", param="stream")


@pytest.mark.parametrize("name", ["include", "include[]"])
def test_an_unknown_include_is_refused(stateful_gateway: Gateway, name: str) -> None:
    response_id = create(stateful_gateway)["id"]
    for below in ("", "/input_items"):
        answer = stateful_gateway.http.get(
            f"/v1/responses/{response_id}{below}", params={name: "everything"}
        )
        refused(answer, 400, code="unsupported_value", param="include")


def test_failed_responses_are_kept(stateful_gateway: Gateway, vllm: ScriptedVLLM) -> None:
    told = broken_off(stateful_gateway, vllm, reasoning("Hm") + text("\n\n", "Half ", "LAST"))
    failed = get(stateful_gateway, f"/{told['id']}")
    check_response(failed)
    assert failed == told
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "server_error"
    assert [item["status"] for item in failed["output"]] == ["completed", "incomplete"]


def test_incomplete_responses_are_kept(stateful_gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(text("One", finish_reason="length", finish_with_last=True))
    response = create(stateful_gateway, max_output_tokens=1)
    assert get(stateful_gateway, f"/{response['id']}") == response


def test_what_got_an_http_error_is_not_listed(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    before = get(stateful_gateway, "?limit=1")["data"]
    vllm.script(failure(400, "No."), failure(400, "No."))
    for streamed in (False, True):
        asked = {"model": "tiny", "input": "Hi", "stream": streamed}
        assert stateful_gateway.http.post("/v1/responses", json=asked).status_code == 400
    assert get(stateful_gateway, "?limit=1")["data"] == before


# --- Lists ----------------------------------------------------------------------------------------


def test_the_list_has_the_newest_first(stateful_gateway: Gateway) -> None:
    made = [create(stateful_gateway, input=str(number)) for number in range(6)]
    page = get(stateful_gateway, "?limit=5")
    assert page == {
        "object": "list",
        "data": made[:0:-1],
        "first_id": made[5]["id"],
        "last_id": made[1]["id"],
        "has_more": True,
    }


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_follow_each_other_without_gaps(stateful_gateway: Gateway, order: str) -> None:
    made = [create(stateful_gateway, input=str(number))["id"] for number in range(5)]
    start = get(stateful_gateway, "?limit=6")["data"]
    after = "" if order == "desc" else f"&after={start[-1]['id']}" if len(start) > 5 else ""
    seen: list[str] = []
    while len(seen) < 5:
        page = get(stateful_gateway, f"?limit=2&order={order}{after}")
        assert len(page["data"]) <= 2
        assert (page["first_id"], page["last_id"]) == (
            page["data"][0]["id"],
            page["data"][-1]["id"],
        )
        seen += [response["id"] for response in page["data"]]
        after = f"&after={page['last_id']}"
    assert seen[:5] == (made if order == "asc" else made[::-1])


def test_after_the_last_one_the_list_is_empty(stateful_gateway: Gateway) -> None:
    oldest = create(stateful_gateway)["id"]
    page = get(stateful_gateway, "?limit=1&order=asc")
    oldest = page["data"][0]["id"]
    assert get(stateful_gateway, f"?after={oldest}&order=desc") == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ("limit=0", "invalid_value", "limit"),
        ("limit=101", "invalid_value", "limit"),
        ("limit=many", "invalid_value", "limit"),
        ("order=newest", "invalid_value", "order"),
        ("after=resp_unknown", "invalid_value", "after"),
        ("after=%00", "invalid_value", "after"),
    ],
)
def test_a_bad_page_is_refused_by_name(
    stateful_gateway: Gateway, query: str, code: str, param: str
) -> None:
    response_id = create(stateful_gateway)["id"]
    for path in ("", f"/{response_id}/input_items"):
        answer = stateful_gateway.http.get(f"/v1/responses{path}?{query}")
        refused(answer, 400, code=code, param=param)
