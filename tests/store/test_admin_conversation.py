"""How items are put into words for people: pure, no database."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apps.store.admin.conversation import TEXT_LIMIT, Block, Entry, entry, instructions, raw_json


def shown(**item: Any) -> Entry:
    return entry(item.get("type", "message"), json.dumps(item))


def texts(found: Entry) -> list[str]:
    return [block.text for block in found.blocks]


@pytest.mark.parametrize(
    ("role", "title", "look"),
    [
        ("user", "User", "user"),
        ("assistant", "Assistant", "assistant"),
        ("developer", "Developer", "system"),
        ("system", "System", "system"),
    ],
)
def test_messages_are_titled_by_role(role: str, title: str, look: str) -> None:
    found = shown(type="message", role=role, content="Hello.")
    assert (found.title, found.look, texts(found)) == (title, look, ["Hello."])


def test_parts_of_a_message_follow_each_other() -> None:
    found = shown(
        type="message",
        role="assistant",
        content=[
            {"type": "output_text", "text": "First.", "annotations": []},
            {"type": "refusal", "refusal": "Second."},
        ],
    )
    assert found.blocks == [Block(text="First."), Block(text="Second.", label="refusal")]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (
            {"type": "input_image", "image_url": "https://example.org/a.png"},
            Block(text="https://example.org/a.png", label="image"),
        ),
        (
            {"type": "input_image", "image_url": "data:image/png;base64," + "A" * 3000},
            Block(text="data:image/png;base64, 3,022 characters inline", label="image"),
        ),
        (
            {"type": "input_image", "image_url": "gateway-media:" + "0123456789abcdef" * 4},
            Block(text="stored, SHA-256 0123456789abcdef…", label="image"),
        ),
        ({"type": "input_image", "file_id": "file-1"}, Block(text="file-1", label="image")),
        (
            {"type": "input_file", "filename": "a.pdf", "file_data": "A" * 2000},
            Block(text="a.pdf data, 2,000 characters inline", label="file"),
        ),
        (
            {"type": "input_file", "filename": "a.pdf", "file_url": "https://example.org/a.pdf"},
            Block(text="a.pdf https://example.org/a.pdf", label="file"),
        ),
    ],
)
def test_pictures_and_files_are_named_not_shown(part: dict[str, str], expected: Block) -> None:
    assert shown(type="message", role="user", content=[part]).blocks == [expected]


def test_reasoning_is_folded_and_holds_content_and_summary() -> None:
    found = shown(
        type="reasoning",
        content=[{"type": "reasoning_text", "text": "Thinking."}],
        summary=[{"type": "summary_text", "text": "Thought."}],
        encrypted_content="gAAAA",
    )
    assert found.is_folded
    assert texts(found) == ["Thinking.", "Thought.", "(encrypted for the client, not shown)"]


def test_empty_reasoning_says_so() -> None:
    assert shown(type="reasoning", summary=[]).note == "empty"


def test_arguments_of_a_function_call_are_indented() -> None:
    found = shown(type="function_call", name="f", call_id="call_1", arguments='{"a":[1]}')
    assert found.title == "Calls f"
    assert found.note == "call_1"
    assert texts(found) == ['{\n  "a": [\n    1\n  ]\n}']


def test_arguments_that_are_no_json_are_shown_as_they_are() -> None:
    found = shown(type="function_call", name="f", call_id="call_1", arguments='{"a": ')
    assert texts(found) == ['{"a": ']


def test_a_number_in_text_is_not_read_as_json() -> None:
    found = shown(type="function_call_output", call_id="call_1", output="1.10")
    assert texts(found) == ["1.10"]


def test_a_namespace_is_part_of_the_name() -> None:
    assert shown(type="function_call", namespace="crm", name="f").title == "Calls crm.f"


def test_the_input_of_a_custom_tool_stays_text() -> None:
    found = shown(type="custom_tool_call", name="sql", input='{"not": "indented"}')
    assert texts(found) == ['{"not": "indented"}']


def test_a_tool_may_answer_in_parts() -> None:
    found = shown(
        type="function_call_output",
        call_id="call_1",
        output=[{"type": "input_text", "text": "Done."}, {"type": "input_image", "file_id": "f"}],
    )
    assert texts(found) == ["Done.", "f"]


def test_an_item_that_is_not_completed_says_so() -> None:
    found = shown(type="function_call", name="f", call_id="call_1", status="incomplete")
    assert found.note == "call_1, incomplete"


def test_unknown_kinds_are_shown_as_json() -> None:
    found = shown(type="seance_call", medium="table")
    assert found.title == "seance_call"
    assert texts(found) == ['{\n  "type": "seance_call",\n  "medium": "table"\n}']


@pytest.mark.parametrize(
    "payload",
    ["", "{", '{"a":' + "9" * 5000 + "}", "[" * 5000 + "]" * 5000, "null", '"text"', "[1]"],
    ids=["empty", "cut", "huge number", "deep", "null", "text", "list"],
)
def test_what_is_no_item_is_shown_raw(payload: str) -> None:
    assert entry("message", payload).title == "message"


def test_nesting_that_cannot_be_written_is_said() -> None:
    nested: Any = []
    for _ in range(5000):
        nested = [nested]
    assert raw_json(nested) == "(nested too deeply to be shown)"


@pytest.mark.parametrize("content", [None, 5, {"text": 5}, [None], [{"type": "novel", "x": 1}]])
def test_content_of_another_shape_is_shown_as_json(content: Any) -> None:
    assert all(block.is_code for block in shown(type="message", content=content).blocks)


def test_half_a_surrogate_pair_can_be_encoded() -> None:
    found = entry("message", r'{"role": "user", "content": "a\ud800b"}')
    assert texts(found)[0].encode() == rb"a\ud800b"


def test_long_texts_are_cut_and_counted() -> None:
    (found,) = shown(type="message", role="user", content="x" * (TEXT_LIMIT + 5)).blocks
    assert (len(found.text), found.omitted) == (TEXT_LIMIT, 5)


def test_long_strings_in_raw_json_are_cut() -> None:
    text = raw_json({"image": "A" * (TEXT_LIMIT + 1000)})
    assert text.endswith('… (1,000 more characters)"\n}')


def test_instructions_may_be_text_or_items() -> None:
    assert texts(instructions("Be brief.")) == ["Be brief."]
    assert '"Be brief."' in texts(instructions([{"role": "system", "content": "Be brief."}]))[0]
