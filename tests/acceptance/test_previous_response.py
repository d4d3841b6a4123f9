"""Continuing a stored response with ``previous_response_id``."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.acceptance.exchanges import create, post_stream, refused, stream
from tests.gateway import Gateway
from tests.programs import eventually
from tests.scripted_vllm import ScriptedVLLM, pause, reasoning, text

Json = dict[str, Any]


def continued(gateway: Gateway, response_id: str, *, streamed: bool = False) -> Any:
    asked = {
        "model": "tiny",
        "input": "And?",
        "previous_response_id": response_id,
        "stream": streamed,
    }
    return gateway.http.post("/v1/responses", json=asked)


def is_not_found(gateway: Gateway, response_id: str, *, streamed: bool = False) -> None:
    message = refused(
        continued(gateway, response_id, streamed=streamed),
        400,
        code="previous_response_not_found",
        param="previous_response_id",
    )
    assert message == f"Previous response with id '{response_id}' not found."


def said(vllm: ScriptedVLLM) -> list[tuple[str, str]]:
    """What the upstream saw last."""
    return [(m["role"], m["content"]) for m in vllm.requests[-1].body["messages"]]


def test_the_whole_chain_is_seen_again(stateful_gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(text("One"), text("Two"), text("Three"))
    last = None
    for number in "123":
        last = create(stateful_gateway, input=number, previous_response_id=last)["id"]
    assert said(vllm) == [
        ("user", "1"),
        ("assistant", "One"),
        ("user", "2"),
        ("assistant", "Two"),
        ("user", "3"),
    ]


def test_turns_of_older_versions_are_told_in_the_same_words(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    """Those have no messages beside their items."""
    vllm.script(reasoning("Hm.") + text("One"), text("Two"))
    last = create(stateful_gateway, input="1")["id"]
    last = create(stateful_gateway, input="2", previous_response_id=last)["id"]
    kept, lost = (
        "SELECT count(*) FROM store_responsepayload WHERE messages IS NOT NULL",
        "UPDATE store_responsepayload SET messages = NULL",
    )
    assert stateful_gateway.database.query(kept) != [(0,)]
    create(stateful_gateway, input="3", previous_response_id=last)
    stateful_gateway.database.query(lost)
    create(stateful_gateway, input="3", previous_response_id=last)
    before, after = (request.body["messages"] for request in vllm.requests[-2:])
    assert len(before) == 5
    assert before == after


def test_output_that_is_sent_once_more_is_no_second_message(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    """Some templates refuse two messages of the assistant in a row."""
    first = create(stateful_gateway, input="1")
    again = [*first["output"], {"role": "user", "content": "2"}]
    create(stateful_gateway, input=again, previous_response_id=first["id"])
    assert [role for role, _ in said(vllm)] == ["user", "assistant", "user"]


def test_a_chain_may_be_long(stateful_gateway: Gateway, vllm: ScriptedVLLM) -> None:
    last = None
    for number in range(40):
        last = create(stateful_gateway, input=str(number), previous_response_id=last)["id"]
    users = [words for role, words in said(vllm) if role == "user"]
    assert users == [str(number) for number in range(40)]


def test_branches_do_not_see_each_other(stateful_gateway: Gateway, vllm: ScriptedVLLM) -> None:
    root = create(stateful_gateway, input="Root")["id"]
    left = create(stateful_gateway, input="Left", previous_response_id=root)["id"]
    right = create(stateful_gateway, input="Right", previous_response_id=root)["id"]
    for branch, name in ((left, "Left"), (right, "Right")):
        create(stateful_gateway, input="Leaf", previous_response_id=branch)
        users = [words for role, words in said(vllm) if role == "user"]
        assert users == ["Root", name, "Leaf"]


def test_the_id_may_be_used_as_soon_as_the_stream_told_its_end(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    for number in range(10):
        response_id = stream(stateful_gateway, input=str(number))[-1]["response"]["id"]
        assert continued(stateful_gateway, response_id).status_code == 200


def test_a_continuation_may_have_no_input_of_its_own(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(text("One"), text("More"))
    first = create(stateful_gateway, input="1")
    answer = stateful_gateway.http.post(
        "/v1/responses", json={"model": "tiny", "previous_response_id": first["id"]}
    )
    assert answer.status_code == 200
    assert said(vllm) == [("user", "1"), ("assistant", "One")]


def test_instructions_and_tools_are_not_inherited(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    first = create(
        stateful_gateway,
        instructions="Speak French.",
        tools=[{"type": "function", "name": "stop"}],
        temperature=0.5,
        max_output_tokens=99,
        metadata={"a": "b"},
    )
    second = create(stateful_gateway, input="And?", previous_response_id=first["id"])
    assert vllm.requests[-1].body == {
        "model": "tiny",
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": "And?"},
        ],
        "stream": False,
    }
    assert (second["instructions"], second["tools"], second["metadata"]) == (None, [], {})


def test_instructions_of_the_continuation_come_first(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    first = create(stateful_gateway, input=[{"role": "developer", "content": "Be kind."}])
    create(stateful_gateway, instructions="Be brief.", previous_response_id=first["id"])
    assert said(vllm)[0] == ("system", "Be brief.\n\nBe kind.")


def test_another_model_may_continue(stateful_gateway: Gateway, vllm: ScriptedVLLM) -> None:
    first = create(stateful_gateway)
    create(stateful_gateway, model="other", previous_response_id=first["id"])
    assert vllm.requests[-1].body["model"] == "other"


def test_reasoning_is_part_of_the_chain(stateful_gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(reasoning("Hm.") + text("\n\n", "Yes."))
    first = create(stateful_gateway)
    create(stateful_gateway, previous_response_id=first["id"])
    assert vllm.requests[-1].body["messages"][1] == {
        "role": "assistant",
        "content": "Yes.",
        "reasoning": "Hm.",
    }


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("response_id", ["resp_unknown", "x", "ż", "%s", "resp_" + "f" * 100])
def test_an_unknown_one_is_not_found(
    stateful_gateway: Gateway, vllm: ScriptedVLLM, response_id: str, streamed: bool
) -> None:
    is_not_found(stateful_gateway, response_id, streamed=streamed)
    assert vllm.requests == []


def test_a_deleted_one_is_not_found(stateful_gateway: Gateway) -> None:
    response_id = create(stateful_gateway)["id"]
    stateful_gateway.http.delete(f"/v1/responses/{response_id}")
    is_not_found(stateful_gateway, response_id)


def test_a_chain_through_a_deleted_one_is_not_found(stateful_gateway: Gateway) -> None:
    first = create(stateful_gateway)["id"]
    second = create(stateful_gateway, previous_response_id=first)["id"]
    third = create(stateful_gateway, previous_response_id=second)["id"]
    stateful_gateway.http.delete(f"/v1/responses/{second}")
    is_not_found(stateful_gateway, third)
    assert continued(stateful_gateway, first).status_code == 200


def test_one_that_was_not_stored_is_not_found(stateful_gateway: Gateway) -> None:
    is_not_found(stateful_gateway, create(stateful_gateway, store=False)["id"])


def test_a_continuation_need_not_be_stored_itself(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    first = create(stateful_gateway, input="Root")["id"]
    leaf = create(stateful_gateway, input="Leaf", previous_response_id=first, store=False)
    assert said(vllm) == [("user", "Root"), ("assistant", "Hello!"), ("user", "Leaf")]
    is_not_found(stateful_gateway, leaf["id"])
    assert continued(stateful_gateway, first).status_code == 200


def test_one_in_progress_cannot_be_continued_yet(
    stateful_gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    go_on = threading.Event()
    vllm.script(text("Wait") + pause(go_on))
    done = threading.Thread(target=post_stream, args=[stateful_gateway])
    done.start()
    try:
        query = "SELECT id FROM store_response WHERE status = 'in_progress'"
        ((response_id,),) = eventually(lambda: stateful_gateway.database.query(query) or None)
        message = refused(
            continued(stateful_gateway, response_id),
            400,
            code="previous_response_in_progress",
            param="previous_response_id",
        )
        assert message == f"Previous response '{response_id}' is still in progress."
        seen = stateful_gateway.http.get(f"/v1/responses/{response_id}").json()
        assert (seen["status"], seen["output"], seen["usage"]) == ("in_progress", [], None)
    finally:
        go_on.set()
        done.join()
    assert continued(stateful_gateway, response_id).status_code == 200
