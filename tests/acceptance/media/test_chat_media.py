"""Chat completions that are passed through get their images fetched, too."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.acceptance.media.parts import RED, chat_image, refusal, sent
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM
from tests.web import Page, Web, data_url


def chat(gateway: Gateway, *parts: dict[str, Any]) -> httpx.Response:
    body = {"model": "tiny", "messages": [{"role": "user", "content": list(parts)}]}
    return gateway.http.post("/v1/chat/completions", json=body)


def test_chat_completions_get_their_images_fetched(
    open_gateway: Gateway, vllm: ScriptedVLLM, web: Web
) -> None:
    web.pages["/chat.png"] = Page(RED, "image/png")
    url = web.url("/chat.png")
    parts = [chat_image(url), {"type": "image_url", "image_url": url}, chat_image("data:,kept")]
    answer = chat(open_gateway, *parts)
    assert answer.status_code == 200, answer.text
    assert sent(vllm)[0]["content"] == [
        chat_image(data_url(RED)),
        {"type": "image_url", "image_url": data_url(RED)},
        chat_image("data:,kept"),
    ]


@pytest.mark.parametrize(
    ("part", "kind", "code"),
    [
        (chat_image("http://127.0.0.1:80/"), "image_url", "invalid_image_url"),
        (chat_image("file:///etc/passwd"), "image_url", "unsupported_value"),
        (
            {"type": "video_url", "video_url": {"url": "http://example.org/"}},
            "video_url",
            "unsupported_value",
        ),
        (
            {"type": "audio_url", "audio_url": {"url": "http://example.org/"}},
            "audio_url",
            "unsupported_value",
        ),
    ],
)
def test_other_media_urls_of_chat_completions_are_refused(
    gateway: Gateway, part: dict[str, Any], kind: str, code: str
) -> None:
    answer = chat(gateway, {"type": "text", "text": "x"}, part)
    assert refusal(answer) == (f"messages[0].content[1].{kind}", code)
