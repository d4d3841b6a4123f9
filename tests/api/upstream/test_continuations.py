"""Continuations show the model what it has seen before, and call ids as its family knows them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.api.protocol.calls import (
    PairingError,
    answered_calls,
    check_pairs,
    without_dead_calls,
)
from apps.api.protocol.composer import Outcome, ResponseComposer
from apps.api.protocol.deltas import Delta
from apps.api.protocol.ids import IdSource
from apps.api.protocol.input_items import ItemReference, to_items
from apps.api.protocol.offers import Offers
from apps.api.protocol.response import Response, Status
from apps.api.protocol.types import Item
from apps.api.upstream.call_ids import CallIds, CallIdStyle, style_for
from apps.api.upstream.payload import to_messages
from tests.api.protocol.bodies import accept, problem_of
from tests.api.protocol.runs import counting_ids, run
from tests.api.protocol.strategies import runs
from tests.api.upstream.chat_messages import (
    HELLO,
    HI,
    Json,
    call,
    messages_of,
    output,
    thought,
)

# --- Call ids -------------------------------------------------------------------------------------


def ids_in(messages: Sequence[Json]) -> list[str]:
    """The ids of the calls; those of the outputs must be the same."""
    called = [each["id"] for message in messages for each in message.get("tool_calls", ())]
    answered = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    assert called == answered
    return called


TWICE = [HI, call("a"), call("b", name="g"), output("a"), output("b"), call("a"), output("a")]


def test_plain_ids_are_those_of_the_client() -> None:
    assert ids_in(messages_of(*TWICE)) == ["a", "b", "a"]


def test_indexed_ids_count_over_the_conversation() -> None:
    assert ids_in(messages_of(*TWICE, style=CallIdStyle.INDEXED)) == [
        "functions.f:0",
        "functions.g:1",
        "functions.f:2",
    ]


def test_short_ids_are_nine_letters_and_digits_of_their_own() -> None:
    many = [item for n in range(500) for item in (call(f"c{n}"), output(f"c{n}"))]
    ids = ids_in(messages_of(HI, *many, style=CallIdStyle.ALNUM9))
    assert len(set(ids)) == 500
    assert all(re.fullmatch("[0-9a-zA-Z]{9}", each) for each in ids)


def test_short_ids_do_not_depend_on_the_process() -> None:
    assert CallIds(CallIdStyle.ALNUM9).render("whatever", "f") == "02cSxEGHE"


@pytest.mark.parametrize(
    ("model", "setting", "style"),
    [
        ("Qwen/Qwen3-8B", "auto", CallIdStyle.PLAIN),
        ("mistralai/Mistral-Small-3.2", "auto", CallIdStyle.ALNUM9),
        ("mistralai/Devstral-Small", "auto", CallIdStyle.ALNUM9),
        ("moonshotai/Kimi-K2-Instruct", "auto", CallIdStyle.INDEXED),
        ("my-finetune", "alnum9", CallIdStyle.ALNUM9),
        ("my-finetune", "indexed", CallIdStyle.INDEXED),
        ("mistralai/Mistral-Small-3.2", "plain", CallIdStyle.PLAIN),
    ],
)
def test_the_style_goes_by_the_setting_or_by_the_model(
    model: str, setting: str, style: CallIdStyle
) -> None:
    assert style_for(model, setting) is style


# --- Whatever is accepted can be sent -------------------------------------------------------------

GOOD: list[Json] = [HI, HELLO, thought("Hm."), call("a"), output("a")]
MEMBERS = ["id", "status", "role", "content", "summary", "arguments", "name", "output", "phase"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["type", "text", "refusal", "logprobs"]), inner)
        | st.builds(
            lambda kind, value: {"type": kind, "text": value},
            st.sampled_from(["input_text", "output_text", "reasoning_text", "summary_text"]),
            inner,
        )
    ),
    max_leaves=4,
)
ODD = st.builds(
    lambda item, change: {**item, **change},
    st.sampled_from(GOOD),
    st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=2),
)


@given(st.lists(ODD, max_size=4))
def test_what_passes_validation_becomes_messages(items: list[Json]) -> None:
    if problem_of({"input": items}) is None:
        kept = to_items(accept({"input": items}).input, counting_ids())
        with contextlib.suppress(PairingError):
            check_pairs([item for item in kept if not isinstance(item, ItemReference)])
            messages_of(*items)


# --- What the model saw is what it sees again -----------------------------------------------------


def answer(deltas: Sequence[Delta], outcome: Outcome, ids: IdSource) -> list[Item]:
    """The output of a response that went like this."""
    composer = ResponseComposer(Response(id="resp_1", created_at=1, model="tiny"), ids=ids)
    run(composer, [deltas], outcome)
    return [orjson.loads(item.to_json()) for item in composer.output]


@given(st.lists(runs(), min_size=2, max_size=4), st.sampled_from(CallIdStyle))
def test_a_continuation_begins_with_what_the_model_has_seen(
    given_runs: list[tuple[list[Delta], Outcome]], style: CallIdStyle
) -> None:
    """Each request answers the open calls and says something new."""
    ids = counting_ids()
    items: list[Item] = []
    seen: list[Json] = []
    for deltas, outcome in given_runs:
        waiting = [i["call_id"] for i in items if i["type"] == "function_call"]
        new = [output(each) for each in waiting if each not in answered_calls(items)]
        own = to_items(accept({"input": [*new, HI]}).input, ids)
        items += [item for item in own if not isinstance(item, ItemReference)]
        messages = to_messages(items, "Obey.", offers=Offers(()), call_ids=CallIds(style))
        assert messages[: len(seen)] == seen
        assert len(messages) > len(seen)
        seen = messages
        completed = outcome.status is Status.COMPLETED
        items += without_dead_calls(answer(deltas, outcome, ids), frozenset(), completed=completed)
