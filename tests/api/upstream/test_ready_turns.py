"""Turns whose messages are kept ready are told in the same words as their items."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.api.protocol.composer import Outcome
from apps.api.protocol.context import Context
from apps.api.protocol.deltas import Delta
from apps.api.protocol.input_items import to_items
from apps.api.protocol.offers import Offers
from apps.api.protocol.ready_turns import ready_turn
from apps.api.protocol.truncation import without_oldest
from apps.api.protocol.types import Item
from apps.api.upstream.call_ids import CallIds, CallIdStyle
from apps.api.upstream.payload import lasting_messages, to_chat_payload
from tests.api.protocol.bodies import accept
from tests.api.protocol.runs import counting_ids
from tests.api.protocol.strategies import runs
from tests.api.upstream.chat_messages import HELLO, HI, Json, call, output, said, thought
from tests.api.upstream.test_continuations import answer


def kept(*items: Json) -> list[Item]:
    resolved: list[Any] = to_items(accept({"input": [*items]}).input, counting_ids())
    return resolved


def sent(items: Sequence[Item]) -> bytes:
    """The body of a request with these items."""
    context = Context(model="tiny", items=[*items], offers=Offers(()))
    return orjson.dumps(to_chat_payload(context, call_ids=CallIds(CallIdStyle.PLAIN)))


def ready(items: Sequence[Item]) -> list[Item]:
    messages = lasting_messages(items)
    assert messages is not None
    return [ready_turn(messages)]


@pytest.mark.parametrize(
    "turn",
    [
        [HI, HELLO],
        [HI],
        [HI, thought("Hm."), HELLO],
        [HI, HELLO, HELLO, HI, HELLO],
        [said("user", 'A "quote", a \\, a \n, a \0, an \u00fc and a \U0001f600'), HELLO],
        [said("user", "")],
    ],
)
def test_the_body_is_the_same_byte_for_byte(turn: list[Json]) -> None:
    items, last = kept(*turn), kept(HI)
    assert sent([*ready(items), *ready(items), *last]) == sent([*items, *items, *last])


@pytest.mark.parametrize(
    "turn", [[HI, HELLO], [HI, thought("Hm.")], [HI, thought("Hm."), HELLO], [HI]]
)
@pytest.mark.parametrize("new", [[call("a"), output("a")], [HELLO], [thought("So."), HELLO]])
def test_what_a_client_adds_to_a_turn_goes_where_it_went(turn: list[Json], new: list[Json]) -> None:
    items, added = kept(*turn), kept(*new)
    assert sent([*ready(items), *added]) == sent([*items, *added])


@pytest.mark.parametrize(
    "turn",
    [
        [],
        [HELLO],
        [HI, call("a")],
        [output("a"), HELLO],
        [said("system", "Be brief."), HI, HELLO],
        [HI, said("developer", "Be brief."), HELLO],
        [HI, {"type": "reasoning", "summary": [], "encrypted_content": "gwr1..."}, HELLO],
        [
            {
                "role": "user",
                "content": [{"type": "input_image", "image_url": "https://example.org/a.png"}],
            }
        ],
    ],
)
def test_what_depends_on_more_than_the_turn_is_told_by_its_items(turn: list[Json]) -> None:
    assert lasting_messages(kept(*turn) if turn else []) is None


@given(st.lists(runs(), min_size=1, max_size=4))
def test_a_conversation_is_told_as_by_its_items(
    given_runs: list[tuple[list[Delta], Outcome]],
) -> None:
    ids = counting_ids()
    items: list[Item] = []
    shorter: list[Item] = []
    for deltas, outcome in given_runs:
        said_now = answer(deltas, outcome, ids)
        answers = [output(i["call_id"]) for i in said_now if i["type"] == "function_call"]
        turn = [*kept(HI), *said_now, *(kept(*said_now, *answers)[len(said_now) :])]
        messages = lasting_messages(turn)
        items += turn
        shorter += turn if messages is None else [ready_turn(messages)]
    assert sent([*shorter, *kept(HI)]) == sent([*items, *kept(HI)])


def test_the_oldest_messages_are_dropped_first_not_whole_turns() -> None:
    old = kept(*(said("user", f"Message {n} of a long turn") for n in range(20)))
    last = kept(said("user", "Last"))
    shorter = without_oldest([*ready(old), *last], keep=0.9)
    assert shorter is not None
    assert sent(shorter) == sent([*old[3:], *last])
