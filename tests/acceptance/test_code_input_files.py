"""Files of the input are where code finds them: a gateway, its tool host, the real sandbox."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.acceptance.media.parts import document, said, sent, user
from tests.acceptance.tool_hosts import (
    OUTPUTS,
    TOOL,
    call_of,
    code,
    gateway_with_tool_host,
    install_pyodide,
)
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, text
from tests.web import Page, Web, pdf, png


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with Web() as running:
        yield running


@pytest.fixture(scope="module")
def sandboxed(vllm: ScriptedVLLM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a tool host beside it, that may fetch from this machine."""
    install_pyodide()
    with gateway_with_tool_host(
        tmp_path_factory.mktemp("code"),
        vllm.url,
        MEDIA_ALLOW_PRIVATE_NETWORKS=True,
        SANDBOX_FILES_COUNT=4,
        SANDBOX_FILES_BYTES=100_000,
        FILE_BYTES=80_000,
    ) as running:
        yield running


@pytest.fixture
def client(sandboxed: Gateway) -> Iterator[openai.OpenAI]:
    with sandboxed.client() as made:
        yield made


def ask(client: openai.OpenAI, *parts: dict[str, Any], tool: Any = TOOL, **members: Any) -> Any:
    items: Any = [user(said("Go."), *parts)]
    return client.responses.create(
        model="m", input=items, tools=[tool] if tool else [], include=OUTPUTS, **members
    )


def container_of(response: Any) -> str:
    found: str = call_of(response).container_id
    return found


def logs(response: Any) -> list[str]:
    calls = [item for item in response.output if item.type == "code_interpreter_call"]
    return ["".join(o.logs for o in call.outputs if o.type == "logs") for call in calls]


def archive() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as opened:
        opened.writestr("inside.txt", "twelve")
    return made.getvalue()


def told(vllm: ScriptedVLLM) -> list[str]:
    """The texts of the first message of the user, in the last question to the model."""
    return [part["text"] for part in sent(vllm)[0]["content"]]


def description(vllm: ScriptedVLLM) -> str:
    found: str = vllm.chats[-1].body["tools"][0]["function"]["description"]
    return found


DIGEST = "import hashlib\nhashlib.sha256(open({!r}, 'rb').read()).hexdigest()"


def digest(data: bytes) -> list[str]:
    return [f"'{hashlib.sha256(data).hexdigest()}'\n"]


def test_files_of_every_source_are_there(
    client: openai.OpenAI, vllm: ScriptedVLLM, web: Web
) -> None:
    web.pages["/far.txt"] = Page(b"far", "text/plain")
    uploaded = client.files.create(file=("up.txt", b"up"), purpose="user_data")
    vllm.script(code("for name in ('near.csv', 'far.txt', 'up.txt'): print(open(name).read())"))
    vllm.script(text("Read."))
    asked = len(web.asked)
    response = ask(
        client,
        document(b"a,b\n1,2", "near.csv"),
        {"type": "input_file", "file_url": web.url("/far.txt")},
        {"type": "input_file", "file_id": uploaded.id},
    )
    assert logs(response) == ["a,b\n1,2\nfar\nup\n"]
    assert told(vllm)[1] == '<file name="near.csv">\na,b\n1,2\n</file>'
    assert "/mnt/data/far.txt, /mnt/data/near.csv, /mnt/data/up.txt" in description(vllm)
    assert len(web.asked) == asked + 1
    held = client.containers.files.list(container_of(response)).data
    assert {(file.path, file.source) for file in held} == {
        (f"/mnt/data/{name}", "user") for name in ("near.csv", "far.txt", "up.txt")
    }


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.zip", archive()),
        ("a.png", png(3)),
        ("a.bin", bytes(range(256))),
        ("scan.pdf", b"%PDF-1.4 nothing that can be read"),
    ],
    ids=["zip", "png", "bytes", "unreadable-pdf"],
)
def test_a_file_without_text_is_named_and_reaches_code_as_it_is(
    client: openai.OpenAI, vllm: ScriptedVLLM, name: str, data: bytes
) -> None:
    vllm.script(code(DIGEST.format(name)), text("Read."))
    response = ask(client, document(data, name))
    assert logs(response) == digest(data)
    assert told(vllm) == ["Go.", f"[file {name} is at /mnt/data/{name}]"]


def test_a_pdf_is_shown_as_text_and_is_a_pdf_for_code(
    client: openai.OpenAI, vllm: ScriptedVLLM
) -> None:
    data = pdf("Page one")
    vllm.script(code(DIGEST.format("a.pdf")), text("Read."))
    response = ask(client, document(data, "a.pdf"))
    assert logs(response) == digest(data)
    assert told(vllm)[1] == '<file name="a.pdf">\nPage one\n</file>'


def test_without_the_tool_such_a_file_is_refused_by_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, document(archive(), "a.zip"), tool=None)
    assert (refused.value.param, refused.value.code) == (
        "input[0].content[1].file_data",
        "unsupported_file_type",
    )
    assert "code_interpreter" in refused.value.message


def test_a_later_response_has_the_files_of_the_history(
    client: openai.OpenAI, vllm: ScriptedVLLM
) -> None:
    """Also where no code ran before; and those that code has deleted do not come back."""
    data = archive()
    vllm.script(text("Nice."))
    first = ask(client, document(data, "a.zip"))
    vllm.script(code(DIGEST.format("a.zip")), text("Read."))
    second = ask(client, document(b"1", "one.txt"), previous_response_id=first.id)
    assert logs(second) == digest(data)
    assert told(vllm) == ["Go.", "[file a.zip is at /mnt/data/a.zip]"]
    vllm.script(code("import os\nos.remove('a.zip')\nopen('one.txt', 'w').write('mine')"))
    vllm.script(text("Gone."))
    third = ask(client, previous_response_id=second.id)
    vllm.script(code("import os\nsorted(os.listdir()), open('one.txt').read()"), text("Listed."))
    fourth = ask(client, document(b"2", "one.txt"), previous_response_id=third.id)
    assert logs(fourth) == ["(['one-2.txt', 'one.txt'], 'mine')\n"]
    assert container_of(fourth) == container_of(second)
    assert told(vllm) == ["Go.", "[file a.zip is at /mnt/data/a.zip]"]


def test_the_history_goes_on_without_the_tool(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(text("Nice."), text("Well."))
    first = ask(client, document(archive(), "a.zip"))
    ask(client, tool=None, previous_response_id=first.id)
    assert told(vllm) == ["Go.", "[file a.zip: its content is not text]"]
    item: Any = client.responses.input_items.list(first.id).data[0]
    assert item.content[1].file_data.startswith("data:application/octet-stream;base64,UEsDB")


def test_a_picture_is_itself_beside_a_file_of_the_same_bytes(
    client: openai.OpenAI, vllm: ScriptedVLLM
) -> None:
    vllm.script(text("A picture."))
    url = "data:image/png;base64," + document(png(3))["file_data"].partition(",")[2]
    ask(client, document(png(3), "a.png"), {"type": "input_image", "image_url": url})
    _, note, picture = sent(vllm)[0]["content"]
    assert note["text"] == "[file a.png is at /mnt/data/a.png]"
    assert picture["image_url"]["url"] == url


def test_a_container_that_is_declared_gets_them_in_place_of_its_own(
    client: openai.OpenAI, vllm: ScriptedVLLM
) -> None:
    container = client.containers.create(name="mine").id
    client.containers.files.create(container, file=("a.txt", b"old"))
    vllm.script(code("open('a.txt').read()"), code("open('a.txt', 'w').write('mine')"))
    vllm.script(code("open('a.txt').read()"), text("Read."))
    tool = {"type": "code_interpreter", "container": container}
    response = ask(client, document(b"new", "../a.txt"), tool=tool)
    assert logs(response) == ["'new'\n", "4\n", "'mine'\n"]


def test_nothing_is_kept_of_a_response_that_is_not_but_code_has_its_files(
    client: openai.OpenAI, vllm: ScriptedVLLM, sandboxed: Gateway
) -> None:
    data = b"\0 only once"
    vllm.script(code(DIGEST.format("x.bin")), text("Read."))
    assert logs(ask(client, document(data, "x.bin"), store=False)) == digest(data)
    rows = sandboxed.database.query(
        "SELECT 1 FROM store_media WHERE sha256 = %s", hashlib.sha256(data).hexdigest()
    )
    assert rows == []


def test_files_of_a_functions_output_are_there(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(code("open('made.bin', 'rb').read()"), text("Read."))
    function: Any = {"type": "function", "name": "f", "parameters": {}}
    items: Any = [
        user(said("Go.")),
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "c",
            "output": [document(b"\0\1", "made.bin")],
        },
    ]
    response = client.responses.create(
        model="m", input=items, tools=[TOOL, function], include=OUTPUTS
    )
    assert logs(response) == ["b'\\x00\\x01'\n"]
    assert sent(vllm)[2]["content"] == "[file made.bin is at /mnt/data/made.bin]"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            [document(bytes(60_000), "a.bin"), document(bytes(50_000), "b.bin")],
            "at most 4 files and 100000 bytes",
        ),
        (
            [document(f"data:,{i}", f"{i}.txt") for i in range(5)],
            "at most 4 files and 100000 bytes",
        ),
        ([document(bytes(90_000), "a.bin")], "at most 80000 bytes"),
    ],
    ids=["bytes", "number", "one file"],
)
def test_more_than_a_container_holds_is_refused_at_once(
    client: openai.OpenAI, vllm: ScriptedVLLM, files: list[dict[str, Any]], message: str
) -> None:
    asked = len(vllm.chats)
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, *files)
    assert (refused.value.param, refused.value.code) == ("input", "file_too_large")
    assert message in refused.value.message
    assert len(vllm.chats) == asked


def test_a_response_without_a_call_makes_no_container(
    client: openai.OpenAI, vllm: ScriptedVLLM, sandboxed: Gateway
) -> None:
    count = "SELECT COUNT(*) FROM store_container"
    before = sandboxed.database.query(count)
    vllm.script(text("No code is needed."), text("Nor here."))
    assert ask(client).status == "completed"
    assert ask(client, document(b"1", "a.txt")).status == "completed"
    assert sandboxed.database.query(count) == before
