"""Large images that code makes: by an address for clients, seen by models, once in the database."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import openai
import pytest

from tests.acceptance.tool_hosts import OUTPUTS, TOOL, call_of, code
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, text
from tests.web import png

#: Each test draws an image of its own: equal ones are kept once for all responses.
SIZES = itertools.count(300_000)


@pytest.fixture
def size() -> int:
    return next(SIZES)


def drawn(size: int) -> bytes:
    return png() + bytes(size)


def data_url(size: int) -> str:
    return f"data:image/png;base64,{base64.b64encode(drawn(size)).decode()}"


@pytest.fixture
def client(sandboxed: Gateway) -> Iterator[openai.OpenAI]:
    with sandboxed.client() as made:
        yield made


@pytest.fixture
def seeing(sandboxed: Gateway) -> Iterator[str]:
    """A model that is known to see."""
    sandboxed.database.query(
        "INSERT INTO store_capability "
        "(model, capability, works, detail, upstream_version, checked_at) "
        "VALUES ('seer', 'images', 1, '', '', %s)",
        datetime.now(UTC).isoformat(sep=" "),
    )
    yield "seer"
    sandboxed.database.query("DELETE FROM store_capability")


def draw(
    client: openai.OpenAI, vllm: ScriptedVLLM, size: int, model: str = "m", **more: Any
) -> Any:
    source = f"class Plot:\n    def _repr_png_(self): return {png()!r} + bytes({size})\nPlot()"
    vllm.script(code(source), text("Here it is."))
    return client.responses.create(
        model=model, input="Draw.", tools=[TOOL], include=OUTPUTS, **more
    )


def url_of(response: Any) -> str:
    (image,) = [output for output in call_of(response).outputs if output.type == "image"]
    return str(image.url)


def shown(vllm: ScriptedVLLM) -> list[str]:
    """The images in the last prompt."""
    contents = [message.get("content") for message in vllm.chats[-1].body["messages"]]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]


def test_a_large_image_has_an_address_that_anybody_can_read(
    client: openai.OpenAI, vllm: ScriptedVLLM, sandboxed: Gateway, size: int
) -> None:
    response = draw(client, vllm, size)
    assert url_of(response).startswith(f"{sandboxed.url}/v1/signed/media/")
    answer = httpx.get(url_of(response))
    assert answer.content == drawn(size)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"].startswith("attachment")
    again = client.responses.retrieve(response.id, include=OUTPUTS)
    assert httpx.get(url_of(again)).content == drawn(size)
    client.responses.delete(response.id)
    assert httpx.get(url_of(response)).status_code == 404


def test_it_is_kept_once_and_items_refer_to_it(
    client: openai.OpenAI, vllm: ScriptedVLLM, sandboxed: Gateway, size: int
) -> None:
    one, two = draw(client, vllm, size), draw(client, vllm, size)
    query = sandboxed.database.query
    assert len(query("SELECT id FROM store_media WHERE size = %s", len(drawn(size)))) == 1
    client.responses.delete(one.id)
    assert httpx.get(url_of(two)).content == drawn(size)
    client.responses.delete(two.id)
    assert query("SELECT id FROM store_media WHERE size = %s", len(drawn(size))) == []


def test_a_model_that_sees_is_shown_it_now_and_later(
    client: openai.OpenAI, vllm: ScriptedVLLM, seeing: str, size: int
) -> None:
    first = draw(client, vllm, size, model=seeing)
    assert shown(vllm) == [data_url(size)]
    vllm.script(text("A dot."))
    client.responses.create(model=seeing, input="What is it?", previous_response_id=first.id)
    assert shown(vllm) == [data_url(size)]
    vllm.script(text("I see nothing."))
    client.responses.create(model="m", input="What is it?", previous_response_id=first.id)
    assert shown(vllm) == []
    assert "An image was shown" in json.dumps(vllm.chats[-1].body["messages"])


def test_an_address_that_comes_back_in_a_history_is_understood(
    client: openai.OpenAI, vllm: ScriptedVLLM, seeing: str, size: int
) -> None:
    first = draw(client, vllm, size, model=seeing)
    history: list[Any] = [
        {"role": "user", "content": "Draw."},
        *[item.model_dump(exclude_none=True) for item in first.output],
        {"role": "user", "content": "What is it?"},
    ]
    vllm.script(text("A dot."))
    second = client.responses.create(model=seeing, input=history)
    assert shown(vllm) == [data_url(size)]
    client.responses.delete(first.id)  # the second keeps what it was shown
    items: list[Any] = list(client.responses.input_items.list(second.id, include=OUTPUTS))
    (call,) = [item for item in items if item.type == "code_interpreter_call"]
    assert httpx.get(call.outputs[-1].url).content == drawn(size)
    client.responses.delete(second.id)
    vllm.script(text("It is gone."))
    client.responses.create(model=seeing, input=history)
    assert shown(vllm) == []


def test_what_is_not_stored_has_no_address(
    client: openai.OpenAI, vllm: ScriptedVLLM, size: int
) -> None:
    assert url_of(draw(client, vllm, size, store=False)) == data_url(size)


def test_a_reference_cannot_be_written(client: openai.OpenAI) -> None:
    call: Any = {
        "type": "code_interpreter_call",
        "id": "ci_1",
        "code": "1",
        "container_id": "cntr_1",
        "status": "completed",
        "outputs": [{"type": "image", "url": "gateway-media:" + "0" * 64}],
    }
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(model="m", input=[call])
    assert refused.value.param == "input[0].outputs[0].url"
