"""The first request of a conversation as clients of the Responses API send it, and what some
client or other breaks without. The shapes are those of the clients named.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.exchanges import WEATHER, create, messages, stream, types
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM

Json = dict[str, Any]

# --- What each client sends first -----------------------------------------------------------------

LLAMA_INDEX: Json = {
    "model": "tiny",
    "input": [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
    "include": None,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": None,
    "previous_response_id": None,
    "store": False,
    "temperature": 0.1,
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
AGENTS: Json = {
    "model": "tiny",
    "input": [{"role": "user", "content": "Hi"}],
    "instructions": "Be kind.",
    "include": [],
    "tools": [],
}
LANGCHAIN: Json = {
    "model": "tiny",
    "input": [
        {"role": "system", "content": "Be kind.", "type": "message"},
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}], "type": "message"},
    ],
}
PYDANTIC_AI: Json = {
    "model": "tiny",
    "input": [{"role": "user", "content": "Hi"}],
    "instructions": "Be kind.",
    "tool_choice": "auto",
    "tools": [WEATHER],
    "parallel_tool_calls": True,
    "reasoning": {"effort": "low"},
    "service_tier": "auto",
    "store": True,
    "truncation": "disabled",
}
VERCEL: Json = {
    "model": "tiny",
    "input": [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
    ],
    "tools": [{**WEATHER, "strict": False}],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "prompt_cache_key": "chat-1",
    "service_tier": "default",
}
LITELLM: Json = {
    "model": "tiny",
    "input": [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
    ],
    "instructions": "Be kind.",
    "temperature": 0,
    "metadata": {},
}
CODEX_TURN: Json = {
    "model": "tiny",
    "input": [
        {
            "type": "message",
            "id": "msg_0f7a-41",
            "role": "developer",
            "content": [
                {"type": "input_text", "text": "Be "},
                {"type": "input_text", "text": "kind."},
            ],
        },
        {
            "type": "message",
            "id": "msg_0f7a-42",
            "role": "user",
            "content": [{"type": "input_text", "text": "Hi"}],
        },
    ],
    "store": False,
    "tool_choice": "auto",
    "tools": [{**WEATHER, "strict": False}],
    "parallel_tool_calls": False,
    "prompt_cache_key": "0f7a",
    "reasoning": {"effort": "medium"},
    "include": [],
    "client_metadata": {"turn": "1", "window": {"id": 7}},
}
PI: Json = {
    "model": "tiny",
    "input": [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
    "store": False,
    "prompt_cache_key": "session-1",
    "max_output_tokens": 32000,
    "reasoning": {"effort": "medium", "summary": None},
}
FIRST: dict[str, Json] = {
    "LlamaIndex": LLAMA_INDEX,
    "Agents SDK": AGENTS,
    "LangChain": LANGCHAIN,
    "pydantic-ai": PYDANTIC_AI,
    "Vercel AI SDK": VERCEL,
    "LiteLLM": LITELLM,
    "Codex": CODEX_TURN,
    "pi": PI,
}
FOR_VLLM = {
    "model",
    "messages",
    "stream",
    "stream_options",
    "temperature",
    "top_p",
    "max_completion_tokens",
    "reasoning_effort",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
}


@pytest.mark.parametrize("name", FIRST)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_first_request(gateway: Gateway, vllm: ScriptedVLLM, name: str, streamed: bool) -> None:
    asked = FIRST[name]
    if streamed:
        events = stream(gateway, **asked)
        assert types(events)[:4] == [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
        ]
        response = events[-1]["response"]
    else:
        response = create(gateway, **asked)
    assert vllm.requests[-1].body.keys() <= FOR_VLLM
    assert messages(vllm)[-1] == {"role": "user", "content": "Hi"}
    if len(messages(vllm)) == 2:
        assert messages(vllm)[0] == {"role": "system", "content": "Be kind."}
    needed_by_everybody(response)


def needed_by_everybody(response: Json) -> None:
    """What some client or other breaks without."""
    assert {"id", "object", "created_at", "status", "model", "output", "usage"} <= response.keys()
    assert response["usage"]["input_tokens_details"] is not None
    assert response["usage"]["output_tokens_details"] is not None
    for item in response["output"]:
        assert {"id", "type", "status"} <= item.keys()
        if item["type"] == "message":
            assert all(part["annotations"] == [] for part in item["content"])
        if item["type"] == "function_call":
            assert item["call_id"]


def test_unknown_headers_change_nothing(gateway: Gateway) -> None:
    headers = {
        "originator": "codex_cli_rs",
        "session-id": "1",
        "x-codex-turn-metadata": '{"a": "ż"}',
        "x-stainless-retry-count": "1",
        "x-client-request-id": "mine",
        "openai-beta": "responses=v1",
        "openai-project": "proj_1",
        "accept": "text/event-stream",
        "accept-encoding": "br, gzip",
        "idempotency-key": "k",
    }
    answer = gateway.http.post(
        "/v1/responses",
        json=AGENTS,
        headers={name.encode(): value.encode() for name, value in headers.items()},
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert "content-encoding" not in answer.headers
