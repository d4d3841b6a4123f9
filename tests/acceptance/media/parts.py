"""Parts of input, as clients send them and as the model server gets them, and the sending."""

from __future__ import annotations

from typing import Any

import httpx

from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM
from tests.web import data_url, png

RED, BLUE = png(1), png(2)


def image(source: bytes | str, **members: Any) -> dict[str, Any]:
    url = source if isinstance(source, str) else data_url(source)
    return {"type": "input_image", "image_url": url, **members}


def shown(source: bytes, detail: str = "auto") -> dict[str, Any]:
    """The part that the model server gets."""
    return {"type": "image_url", "image_url": {"url": data_url(source), "detail": detail}}


def said(value: str) -> dict[str, Any]:
    return {"type": "input_text", "text": value}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def create(gateway: Gateway, *items: dict[str, Any], **members: Any) -> httpx.Response:
    body = {"model": "tiny", "input": list(items), **members}
    return gateway.http.post("/v1/responses", json=body)


def sent(vllm: ScriptedVLLM) -> list[dict[str, Any]]:
    """The messages of the last chat request."""
    messages: list[dict[str, Any]] = vllm.chats[-1].body["messages"]
    return messages


def refusal(answer: httpx.Response) -> tuple[str, str]:
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    return error["param"], error["code"]


def document(data: bytes | str, name: str | None = None, **members: Any) -> dict[str, Any]:
    source = data if isinstance(data, str) else data_url(data, "")
    return {"type": "input_file", "file_data": source, "filename": name, **members}


def chat_image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}
