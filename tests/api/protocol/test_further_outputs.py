"""Custom tools may tell more of one call than once, as those that report while they run do."""

from __future__ import annotations

import pytest

from apps.api.protocol.calls import PairingError, check_pairs, with_one_output_each
from apps.api.protocol.types import Item, JSONObject

USER: Item = {"type": "message", "id": "msg_1", "role": "user", "content": []}


def call(call_id: str, name: str = "exec") -> Item:
    return {"type": "custom_tool_call", "call_id": call_id, "name": name, "status": "completed"}


def output(call_id: str, told: str | list[JSONObject]) -> Item:
    return {
        "type": "custom_tool_call_output",
        "id": f"ctco_{call_id}",
        "call_id": call_id,
        "output": told,
    }


def part(text: str) -> JSONObject:
    return {"type": "input_text", "text": text}


def test_a_custom_call_may_have_further_outputs() -> None:
    check_pairs([call("a"), output("a", "half"), output("a", "whole"), USER, output("a", "late")])


def test_an_output_still_comes_after_its_call() -> None:
    with pytest.raises(PairingError, match="No tool call found for custom tool call output"):
        check_pairs([output("a", "early"), call("a"), output("a", "late")])


def test_a_further_output_does_not_answer_another_call_of_that_id() -> None:
    with pytest.raises(PairingError, match="No tool output found for custom tool call a"):
        check_pairs([call("a"), output("a", "one"), output("a", "more"), call("a")])


def test_outputs_that_come_together_are_one() -> None:
    items = [call("a"), call("b"), output("a", "half"), output("b", "other"), output("a", "whole")]
    assert with_one_output_each(items) == [
        *items[:2],
        output("a", [part("half"), part("whole")]),
        output("b", "other"),
    ]


def test_content_parts_stay_in_order() -> None:
    items = [call("a"), output("a", [part("1"), part("2")]), output("a", [part("3")])]
    assert with_one_output_each(items)[1]["output"] == [part("1"), part("2"), part("3")]


def test_a_late_output_is_news_of_the_user() -> None:
    items = [call("a"), output("a", "running"), USER, output("a", "late")]
    *before, news = with_one_output_each(items)
    assert before == items[:3]
    assert (news["type"], news["role"]) == ("message", "user")
    assert news["content"] == [part("More output of exec:\n"), part("late")]


def test_an_output_of_a_new_call_with_an_old_id_is_its_own() -> None:
    items = [call("a"), output("a", "one"), call("a"), output("a", "two")]
    assert with_one_output_each(items) == items


def test_the_items_themselves_are_left_as_they_are() -> None:
    first = output("a", "half")
    with_one_output_each([call("a"), first, output("a", "whole")])
    assert first == output("a", "half")
