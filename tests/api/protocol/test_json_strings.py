"""The one text of a custom tool, decoded while it comes."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.api.protocol.json_strings import StringMember

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXT, st.booleans(), st.lists(st.integers(min_value=0, max_value=200), max_size=5))
def test_the_text_comes_whole_however_it_is_cut(text: str, ascii_: bool, cuts: list[int]) -> None:
    written = json.dumps({"input": text, "more": 1}, ensure_ascii=ascii_)
    member, places = StringMember("input"), [0, *sorted(cuts), len(written)]
    pieces = [written[a:b] for a, b in itertools.pairwise(places)]
    assert "".join(map(member.feed, pieces)) == text


def test_a_text_is_shown_as_far_as_it_has_come() -> None:
    member = StringMember("input")
    assert member.feed('{"input": "ab\\') == "ab"
    assert member.feed("n") == "\n"


@pytest.mark.parametrize("written", ['{"code": "a"}', '"a"', "", "[1]"])
def test_what_begins_otherwise_is_left_to_others(written: str) -> None:
    member = StringMember("input")
    assert member.feed(written) == ""
    assert not member.began


def test_half_a_pair_is_no_text() -> None:
    assert StringMember("input").feed('{"input": "a\\ud83d!"}') == "a\ufffd!"
