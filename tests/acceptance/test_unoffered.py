"""Parts of the API that the gateway does not have are refused by their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

from tests.acceptance.exchanges import create, refused
from tests.acceptance.guarded import Guarded
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, text


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/v1/responses/compact", "Compaction"),
        ("POST", "/v1/conversations", "The Conversations API"),
        ("GET", "/v1/conversations/conv_1", "The Conversations API"),
        ("DELETE", "/v1/conversations/conv_1/items/msg_1", "The Conversations API"),
        ("POST", "/v1/vector_stores", "The Vector Stores API"),
        ("POST", "/v1/vector_stores/vs_1/search", "The Vector Stores API"),
        ("POST", "/v1/uploads/upload_1/parts", "The Uploads API"),
        ("GET", "/v1/chat/completions/chatcmpl_1/messages", "Reading stored chat completions"),
    ],
)
def test_it_is_named(gateway: Gateway, method: str, path: str, name: str) -> None:
    answer = gateway.http.request(
        method, path, json={"model": "tiny"} if method == "POST" else None
    )
    message = refused(answer, 400, code="unsupported_endpoint")
    assert message == f"{name} ({method} {path}) is not supported by this gateway."


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.responses.compact(model="tiny", input="Hi"),
        lambda client: client.conversations.create(),
        lambda client: client.vector_stores.create(),
        lambda client: client.chat.completions.retrieve("chatcmpl_1"),
    ],
    ids=["compact", "conversations", "vector stores", "stored completions"],
)
def test_the_official_client_tells_so(
    client: openai.OpenAI, ask: Callable[[openai.OpenAI], Any]
) -> None:
    with pytest.raises(openai.BadRequestError, match="is not supported by this gateway") as caught:
        ask(client)
    assert caught.value.code == "unsupported_endpoint"


def test_it_is_not_told_to_strangers(guarded: Guarded) -> None:
    assert guarded.ask(None, "POST", "/v1/conversations").status_code == 401


def test_a_response_that_was_waited_for_cannot_be_cancelled(
    gateway: Gateway, vllm: ScriptedVLLM, client: openai.OpenAI
) -> None:
    vllm.script(text("Hi."))
    response = create(gateway)
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        client.responses.cancel(response["id"])
    with pytest.raises(openai.NotFoundError):
        client.responses.cancel("resp_unknown")
