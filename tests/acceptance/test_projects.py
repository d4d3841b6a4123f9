"""What belongs to another project is not there."""

from __future__ import annotations

from typing import Any

from tests.acceptance.exchanges import refused
from tests.acceptance.guarded import Guarded

Json = dict[str, Any]


def created(guarded: Guarded, token: str, **body: Any) -> Json:
    asked = {"model": "org/one", "input": "Ours"} | body
    answer = guarded.ask(token, "POST", "/v1/responses", json=asked)
    assert answer.status_code == 200, answer.text
    response: Json = answer.json()
    return response


def test_a_foreign_response_cannot_be_read(guarded: Guarded) -> None:
    response_id = created(guarded, guarded.ours)["id"]
    for path in (f"/v1/responses/{response_id}", f"/v1/responses/{response_id}/input_items"):
        answer = guarded.ask(guarded.theirs, "GET", path)
        message = refused(answer, 404, code=None, param="response_id")
        unknown = guarded.ask(guarded.theirs, "GET", path.replace(response_id, "resp_none"))
        assert message == unknown.json()["error"]["message"].replace("resp_none", response_id)


def test_a_foreign_response_cannot_be_deleted(guarded: Guarded) -> None:
    response_id = created(guarded, guarded.ours)["id"]
    answer = guarded.ask(guarded.theirs, "DELETE", f"/v1/responses/{response_id}")
    refused(answer, 404, code=None, param="response_id")
    assert guarded.ask(guarded.ours, "GET", f"/v1/responses/{response_id}").status_code == 200


def test_a_foreign_response_cannot_be_continued(guarded: Guarded) -> None:
    response_id = created(guarded, guarded.ours)["id"]
    before = len(guarded.vllm.requests)
    asked = {"model": "org/one", "input": "And?", "previous_response_id": response_id}
    answer = guarded.ask(guarded.theirs, "POST", "/v1/responses", json=asked)
    refused(answer, 400, code="previous_response_not_found", param="previous_response_id")
    assert len(guarded.vllm.requests) == before


def test_a_foreign_item_cannot_be_referred_to(guarded: Guarded) -> None:
    response = created(guarded, guarded.ours)
    listed = guarded.ask(guarded.ours, "GET", f"/v1/responses/{response['id']}/input_items")
    for item in (response["output"][0], listed.json()["data"][0]):
        asked = {"model": "org/one", "input": [{"type": "item_reference", "id": item["id"]}]}
        answer = guarded.ask(guarded.theirs, "POST", "/v1/responses", json=asked)
        refused(answer, 404, code=None, param="input[0].id")


def test_lists_show_the_own_project_only(guarded: Guarded) -> None:
    ours = created(guarded, guarded.ours)["id"]
    theirs = created(guarded, guarded.theirs)["id"]
    seen = {
        token: [r["id"] for r in guarded.ask(token, "GET", "/v1/responses").json()["data"]]
        for token in (guarded.ours, guarded.theirs)
    }
    assert ours in seen[guarded.ours]
    assert ours not in seen[guarded.theirs]
    assert theirs in seen[guarded.theirs]
    assert theirs not in seen[guarded.ours]


def test_a_foreign_response_is_no_cursor(guarded: Guarded) -> None:
    response_id = created(guarded, guarded.ours)["id"]
    answer = guarded.ask(guarded.theirs, "GET", f"/v1/responses?after={response_id}")
    refused(answer, 400, code="invalid_value", param="after")


def test_keys_of_one_project_share_its_responses(guarded: Guarded) -> None:
    response = created(guarded, guarded.ours)
    path = f"/v1/responses/{response['id']}"
    assert guarded.ask(guarded.colleague, "GET", path).json() == response
    created(guarded, guarded.colleague, previous_response_id=response["id"])
    assert guarded.ask(guarded.colleague, "DELETE", path).status_code == 200


def test_an_item_id_that_two_projects_use_means_the_own_item(guarded: Guarded) -> None:
    for token, words in ((guarded.ours, "Our words"), (guarded.theirs, "Their words")):
        item = {"role": "user", "content": words, "id": "msg_chosen_by_the_client"}
        created(guarded, token, input=[item])
    created(
        guarded,
        guarded.ours,
        input=[{"type": "item_reference", "id": "msg_chosen_by_the_client"}],
    )
    assert guarded.vllm.requests[-1].body["messages"][0]["content"] == "Our words"
