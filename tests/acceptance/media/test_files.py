"""Files become text with their names."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.media.parts import RED, create, document, refusal, said, sent, user
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM
from tests.web import Page, Web, data_url, pdf


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (document(b"# Title\n", "notes.md"), '<file name="notes.md">\n# Title\n\n</file>'),
        (document("eyJhIjogMX0=", "a.json"), '<file name="a.json">\n{"a": 1}\n</file>'),
        (document("eyJhIjogMX0", "a.json"), '<file name="a.json">\n{"a": 1}\n</file>'),
        (document("data:text/csv,a%2Cb"), '<file name="file">\na,b\n</file>'),
        (document(b"\xef\xbb\xbfx", "bom.txt"), '<file name="bom.txt">\nx\n</file>'),
        (document("x".encode("utf-16"), "wide.txt"), '<file name="wide.txt">\nx\n</file>'),
        (
            document(data_url(b"caf\xe9", "text/csv;charset=latin-1"), "a.csv"),
            '<file name="a.csv">\ncafé\n</file>',
        ),
        (document(b"x", 'a">\n<b.txt'), '<file name="a____b.txt">\nx\n</file>'),
        (
            document(pdf("Page one", "Page two"), "a.pdf"),
            '<file name="a.pdf">\nPage one\n\nPage two\n</file>',
        ),
    ],
)
def test_a_file_becomes_text_with_its_name(
    gateway: Gateway, vllm: ScriptedVLLM, part: dict[str, Any], expected: str
) -> None:
    answer = create(gateway, user(said("Read"), part, said("Done")))
    assert answer.status_code == 200, answer.text
    texts = [part["text"] for part in sent(vllm)[0]["content"]]
    assert texts == ["Read", expected, "Done"]


def test_a_file_url_is_fetched_and_named_by_its_path(
    open_gateway: Gateway, vllm: ScriptedVLLM, web: Web
) -> None:
    web.pages["/docs/read%20me.txt?v=1"] = Page(b"caf\xe9", "text/plain; charset=latin-1")
    part = {"type": "input_file", "file_url": web.url("/docs/read%20me.txt?v=1")}
    first = create(open_gateway, user(part))
    assert first.status_code == 200, first.text
    assert sent(vllm)[0]["content"] == '<file name="read me.txt">\ncafé\n</file>'
    create(open_gateway, user(said("x")), previous_response_id=first.json()["id"])
    assert sent(vllm)[0]["content"] == '<file name="read me.txt">\ncafé\n</file>'


def test_an_uploaded_file_is_read_by_its_id(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    with gateway.client() as client:
        uploaded = client.files.create(file=("n.txt", b"Twelve."), purpose="user_data")
        first = create(gateway, user({"type": "input_file", "file_id": uploaded.id}))
        assert sent(vllm)[0]["content"] == '<file name="n.txt">\nTwelve.\n</file>'
        client.files.delete(uploaded.id)
    create(gateway, user(said("x")), previous_response_id=first.json()["id"])
    assert sent(vllm)[0]["content"] == '<file name="n.txt">\nTwelve.\n</file>'


def test_an_uploaded_image_is_seen_by_its_id(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    with gateway.client() as client:
        uploaded = client.files.create(file=("red.png", RED), purpose="vision")
    create(gateway, user({"type": "input_image", "file_id": uploaded.id}))
    [part] = sent(vllm)[0]["content"]
    assert part["image_url"]["url"] == data_url(RED)


def test_a_file_url_that_cannot_be_fetched_is_refused(open_gateway: Gateway, web: Web) -> None:
    answer = create(open_gateway, user({"type": "input_file", "file_url": web.url("/none")}))
    assert refusal(answer) == ("input[0].content[0].file_url", "failed_to_download_file")


def test_files_in_tool_outputs_are_told_by_the_tool(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    create(
        gateway,
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [document(b"x", "a.txt")]},
    )
    assert sent(vllm)[-1] == {
        "role": "tool",
        "tool_call_id": "c",
        "content": '<file name="a.txt">\nx\n</file>',
    }


def test_the_text_of_a_pdf_is_kept(stateful_gateway: Gateway, vllm: ScriptedVLLM) -> None:
    part = document(pdf("Kept text"), "a.pdf")
    first = create(stateful_gateway, user(part)).json()
    before = sent(vllm)
    create(stateful_gateway, user(said("x")), previous_response_id=first["id"])
    assert sent(vllm)[:1] == before
