"""Calls and their outputs: which lists are whole, and which calls nobody will ever answer."""

from __future__ import annotations

import pytest

from apps.api.protocol.calls import (
    PairingError,
    answered_calls,
    check_pairs,
    without_dead_calls,
)
from apps.api.protocol.types import Item

TEXT: Item = {"type": "message", "role": "user", "content": []}


def call(call_id: str, status: str = "completed") -> Item:
    return {"type": "function_call", "call_id": call_id, "status": status}


def output(call_id: str) -> Item:
    return {"type": "function_call_output", "call_id": call_id}


@pytest.mark.parametrize(
    "items",
    [
        [],
        [TEXT],
        [call("a"), output("a")],
        [call("a"), TEXT, output("a"), TEXT],
        [call("a"), call("b"), output("b"), output("a")],
        [call("a"), call("b"), output("a"), call("c"), output("b"), output("c")],
        [call("a"), output("a"), call("a"), output("a")],
    ],
)
def test_every_call_with_one_output_after_it_is_whole(items: list[Item]) -> None:
    check_pairs(items)


@pytest.mark.parametrize(
    ("items", "position", "message"),
    [
        ([TEXT, call("a")], 1, "No tool output found for function call a."),
        ([call("a"), call("b"), output("b")], 0, "No tool output found for function call a."),
        (
            [TEXT, output("a")],
            1,
            "No tool call found for function call output with call_id a.",
        ),
        (
            [call("a"), output("a"), output("a")],
            2,
            "No tool call found for function call output with call_id a.",
        ),
        (
            [output("a"), call("a")],
            0,
            "No tool call found for function call output with call_id a.",
        ),
        ([call("a"), call("a"), output("a")], 1, "Two calls have the call_id 'a'."),
    ],
)
def test_a_broken_pair_is_named_with_its_position(
    items: list[Item], position: int, message: str
) -> None:
    with pytest.raises(PairingError, match=f"^{message}$") as caught:
        check_pairs(items)
    assert caught.value.position == position


def test_the_answered_calls_are_those_with_an_output() -> None:
    assert answered_calls([call("a"), call("b"), TEXT, output("b"), output("c")]) == {"b", "c"}


def test_a_completed_response_keeps_calls_that_wait_for_an_answer() -> None:
    items = [TEXT, call("a"), call("b")]
    assert without_dead_calls(items, frozenset("a"), completed=True) == items


def test_a_call_that_was_cut_is_dead() -> None:
    items = [TEXT, call("a"), call("b", "incomplete")]
    assert without_dead_calls(items, frozenset("a"), completed=True) == [TEXT, call("a")]


def test_a_response_that_did_not_complete_keeps_only_answered_calls() -> None:
    """Nobody was told to answer the others."""
    items = [TEXT, call("a"), call("b")]
    assert without_dead_calls(items, frozenset("a"), completed=False) == [TEXT, call("a")]


@pytest.mark.parametrize("completed", [True, False])
def test_a_cut_call_that_was_answered_all_the_same_lives(completed: bool) -> None:
    items = [call("a", "incomplete"), output("a")]
    assert without_dead_calls(items, frozenset("a"), completed=completed) == items
