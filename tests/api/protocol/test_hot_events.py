"""The events that are rendered from templates say what their models would say."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.api.protocol.deltas import (
    Delta,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
)
from apps.api.protocol.items.base import TypedEvent
from apps.api.protocol.items.function_call import FunctionCallArgumentsDelta
from apps.api.protocol.items.message import OutputTextDelta, RefusalDeltaEvent
from apps.api.protocol.items.reasoning import ReasoningTextDelta
from tests.api.protocol.runs import new_composer
from tests.spec_tables import check_event

NASTY = [
    "",
    "plain",
    'quotes " and \\ backslashes \\" both',
    "\x00\x01\x08\x1f\x7f controls\t\r\n",
    "\u2028 and \u2029 end lines in JavaScript",
    "beyond the plane: \U0001f469\u200d\U0001f4bb \U0010ffff",
    "\ufeff\ufffe\uffff",
    "e\u0301 \u05d0\u202e",
    "</script><!--",
    '","sequence_number":0}',
    "%d %b %s {delta}",
]

HOT: dict[str, tuple[list[Delta], Callable[[str], Delta], type[TypedEvent], str]] = {
    "text": ([], TextDelta, OutputTextDelta, "msg_1"),
    "refusal": ([], RefusalDelta, RefusalDeltaEvent, "msg_1"),
    "reasoning": ([], ReasoningDelta, ReasoningTextDelta, "rs_1"),
    "arguments": (
        [ToolCallStart(0, "f")],
        lambda text: ToolCallArguments(0, text),
        FunctionCallArgumentsDelta,
        "fc_1",
    ),
}
"""What comes before, the delta, the model of its event, the item's id."""


def check_same(name: str, text: str) -> None:
    """The second of two such events, which is the template alone."""
    before, delta, model, item_id = HOT[name]
    composer = new_composer()
    composer.start()
    composer.feed([*before, delta("first")])
    (event,) = composer.feed([delta(text)])
    about = {"item_id": item_id, "output_index": 0, "sequence_number": event.sequence_number}
    if "content_index" in model.model_fields:
        about["content_index"] = 0
    expected = model.model_validate({**about, "delta": text})
    told = json.loads(event.json)
    assert told == json.loads(expected.model_dump_json())
    assert event.type == expected.type
    check_event(told)


@pytest.mark.parametrize("name", HOT)
@pytest.mark.parametrize("text", NASTY)
def test_a_template_and_its_model_agree(name: str, text: str) -> None:
    check_same(name, text)


@pytest.mark.parametrize("name", HOT)
def test_they_agree_on_any_text(name: str) -> None:
    @given(st.text())
    def check(text: str) -> None:
        check_same(name, text)

    check()


def test_a_later_part_has_its_own_template() -> None:
    composer = new_composer()
    composer.start()
    *_, event = composer.feed([TextDelta("a"), RefusalDelta("b"), TextDelta("c")])
    assert json.loads(event.json)["content_index"] == 2
    assert json.loads(event.json)["type"] == "response.output_text.delta"
