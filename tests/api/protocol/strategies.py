"""What hypothesis draws: legal sequences of deltas, and the outcomes that suit them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, pairwise

from hypothesis import strategies as st

from apps.api.protocol.composer import Outcome
from apps.api.protocol.deltas import (
    Delta,
    Finish,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
    TurnEnd,
    TurnUsage,
)
from tests.api.protocol.runs import CANCELLED, COMPLETED, FAILED, FILTERED, TOO_LONG

TEXTS = st.lists(st.text(max_size=5), min_size=1, max_size=3)
NAMES = st.sampled_from(["look", "roll_2"])
KINDS: list[Callable[[str], Delta]] = [TextDelta, ReasoningDelta, RefusalDelta]
STRETCHES = st.one_of(  # a kind of text and its pieces, or a call's name and its arguments
    st.tuples(st.sampled_from(KINDS), TEXTS),
    st.tuples(NAMES, st.lists(st.text(max_size=5), max_size=3)),
)
COUNTS = st.integers(0, 1_000_000)
USAGES = st.none() | st.builds(TurnUsage, COUNTS, COUNTS, COUNTS, COUNTS)
ENDINGS = {
    Finish.STOP: COMPLETED,
    Finish.LENGTH: TOO_LONG,
    Finish.CONTENT_FILTER: FILTERED,
}


@st.composite
def turns(draw: st.DrawFn, finish: st.SearchStrategy[Finish]) -> list[Delta]:
    """The deltas of one turn, as the upstream's stream gives them."""
    deltas: list[Delta] = []
    calls = 0
    for kind, pieces in draw(st.lists(STRETCHES, max_size=5)):
        if isinstance(kind, str):
            deltas.append(ToolCallStart(calls, kind))
            deltas += [ToolCallArguments(calls, piece) for piece in pieces]
            calls += 1
        else:
            deltas += map(kind, pieces)
    return [*deltas, TurnEnd(draw(finish), draw(USAGES))]


@st.composite
def conversations(draw: st.DrawFn) -> list[Delta]:
    """One to three turns; only the last may be cut."""
    before = draw(st.lists(turns(st.just(Finish.STOP)), max_size=2))
    return [*chain(*before), *draw(turns(st.sampled_from(Finish)))]


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[Delta], Outcome]:
    """Deltas and an outcome that suits them: bad ends come anywhere."""
    deltas = draw(conversations())
    if draw(st.booleans()):
        cut = draw(st.integers(0, len(deltas)))
        return deltas[:cut], draw(st.sampled_from([FAILED, CANCELLED]))
    end = deltas[-1]
    assert isinstance(end, TurnEnd)
    return deltas, ENDINGS[end.finish]


@st.composite
def batched(draw: st.DrawFn, deltas: Sequence[Delta]) -> list[Sequence[Delta]]:
    """The deltas as reads may deliver them."""
    cuts = draw(st.lists(st.integers(0, len(deltas)), max_size=4))
    return [deltas[start:end] for start, end in pairwise(sorted([0, *cuts, len(deltas)]))]
