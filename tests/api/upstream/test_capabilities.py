"""What is found out about models, from how a scripted upstream answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from apps.api.upstream.capabilities import (
    CUT,
    NO_REASONING_PARSER,
    NO_TOKENIZE,
    WRONG_TOOL_PARSER,
    Finding,
    Survey,
    survey,
)
from apps.api.upstream.client import close_http_client
from apps.api.upstream.errors import NO_TOOL_PARSER, UpstreamRefused, UpstreamUnreachable
from tests.scripted_vllm import (
    Reply,
    ScriptedVLLM,
    body,
    calls,
    failure,
    garbage,
    reasoning,
    recorded,
    text,
    tool_call,
)

CALLS = calls(("get_weather", {"city": "Paris"}))
THINKS = reasoning("Hm.") + text("42")
FITS = text('{"answer": true}')


@pytest.fixture
def upstream(settings: Settings) -> Iterator[ScriptedVLLM]:
    with ScriptedVLLM() as server:
        settings.GATEWAY_UPSTREAM_URL = server.url
        settings.GATEWAY_UPSTREAM_API_KEY = ""
        yield server


def surveyed() -> Survey:
    async def ask() -> Survey:
        try:
            return await survey()
        finally:
            await close_http_client()

    return asyncio.run(ask())


def found(upstream: ScriptedVLLM, *replies: Reply) -> dict[str, Finding]:
    """The findings when the model answers so to the questions about tools, thoughts, schemas."""
    upstream.script(*replies)
    (findings,) = surveyed().models.values()
    assert not upstream.unused
    return {finding.capability.value: finding for finding in findings}


def test_a_model_that_can_do_everything(upstream: ScriptedVLLM) -> None:
    findings = found(upstream, CALLS, THINKS, FITS)
    assert {name: finding.works for name, finding in findings.items()} == {
        "tools": True,
        "reasoning": True,
        "schema": True,
        "tokenize": True,
        "images": True,
    }


def test_the_questions_are_small_and_asked_as_runs_ask_them(upstream: ScriptedVLLM) -> None:
    found(upstream, CALLS, THINKS, FITS)
    asked = [request.body for request in upstream.requests if request.path.endswith("completions")]
    tools, thoughts, schema, image = asked
    assert all(body["max_completion_tokens"] == 512 and body["stream"] for body in asked)
    assert tools["tool_choice"] == "auto"
    assert [tool["function"]["name"] for tool in tools["tools"]] == ["get_weather"]
    assert "tools" not in thoughts
    assert schema["response_format"]["type"] == "json_schema"
    assert image["messages"][0]["content"][1]["type"] == "image_url"


def test_a_model_that_cannot_see(upstream: ScriptedVLLM) -> None:
    findings = found(upstream, CALLS, THINKS, FITS, failure(400, "No images."))
    assert findings["images"][1:] == (False, "No images.")


@pytest.mark.parametrize(
    ("reply", "works", "detail"),
    [
        (recorded("bare/tools_auto"), False, NO_TOOL_PARSER),
        (text('<tool_call>{"name": "get_weather"}</tool_call>'), False, WRONG_TOOL_PARSER),
        (tool_call("get_weather", '{"city": '), False, WRONG_TOOL_PARSER),
        (tool_call("weather", "{}"), False, WRONG_TOOL_PARSER),
        (CALLS + CALLS, True, ""),
        (tool_call("get_weather<|channel|>json", '{"city": "Paris"}'), True, ""),
        (text("It is sunny."), None, "It answered without calling the tool that it was given."),
        (reasoning("Hm", finish_reason="length"), None, CUT),
        (failure(400, "No tools here."), False, "No tools here."),
        (failure(503, "Busy."), None, "Busy."),
        (failure(429, "Slowly."), None, "Slowly."),
    ],
)
def test_tools(upstream: ScriptedVLLM, reply: Reply, works: bool | None, detail: str) -> None:
    assert found(upstream, reply, THINKS, FITS)["tools"][1:] == (works, detail)


@pytest.mark.parametrize(
    ("reply", "works", "detail"),
    [
        (reasoning("Hm", finish_reason="length"), True, ""),
        (text("<think>\nHm.\n</think>\n\n42"), False, NO_REASONING_PARSER),
        (text("Hm.\n</think>\n\n42"), False, NO_REASONING_PARSER),
        (text("42"), None, "It answered without a thought."),
        (text("4", finish_reason="length"), None, CUT),
    ],
)
def test_reasoning(upstream: ScriptedVLLM, reply: Reply, works: bool | None, detail: str) -> None:
    assert found(upstream, CALLS, reply, FITS)["reasoning"][1:] == (works, detail)


@pytest.mark.parametrize(
    ("reply", "works", "detail"),
    [
        (reasoning("Hm.") + FITS, True, ""),
        (text('{"answer":', "\n", finish_reason="length"), True, ""),
        (text("Yes."), False, "The answer did not follow the schema."),
        (reasoning("Hm", finish_reason="length"), None, CUT),
        (failure(400, "No grammars."), False, "No grammars."),
    ],
)
def test_schemas(upstream: ScriptedVLLM, reply: Reply, works: bool | None, detail: str) -> None:
    assert found(upstream, CALLS, THINKS, reply)["schema"][1:] == (works, detail)


@pytest.mark.parametrize(
    ("reply", "works", "detail"),
    [
        (body({"detail": "Not Found"}, status=404), False, NO_TOKENIZE),
        (body({"detail": "Method Not Allowed"}, status=405), False, NO_TOKENIZE),
        (body({}), None, "The model server's token count is unreadable."),
        (failure(400, "No template."), False, "No template."),
    ],
)
def test_token_counts(
    upstream: ScriptedVLLM, reply: Reply, works: bool | None, detail: str
) -> None:
    upstream.routes["/tokenize"] = reply
    assert found(upstream, CALLS, THINKS, FITS)["tokenize"][1:] == (works, detail)


def test_an_answer_that_is_cut_off_says_nothing_about_the_model(upstream: ScriptedVLLM) -> None:
    finding = found(upstream, CALLS.but(no_finish=True, no_done=True), THINKS, FITS)["tools"]
    assert finding[1:] == (None, "The model server's answer was cut off.")


# --- The server -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "version"),
    [
        (body({"version": "0.32.0"}), "0.32.0"),
        (body({"version": 3}), ""),
        (body([]), ""),
        (body(b"vllm"), ""),
        (body({"detail": "Not Found"}, status=404), ""),
    ],
)
def test_the_version_is_what_the_server_tells(
    upstream: ScriptedVLLM, reply: Reply, version: str
) -> None:
    upstream.routes["/version"] = reply
    assert surveyed().version == version


def test_adapters_are_not_asked_since_they_are_what_their_model_is(upstream: ScriptedVLLM) -> None:
    def model(name: str, parent: str | None) -> dict[str, Any]:
        return {"id": name, "parent": parent}

    upstream.routes["/v1/models"] = body(
        {"data": [model("base", None), model("lora", "base"), {"id": "other"}]}
    )
    assert list(surveyed().models) == ["base", "other"]


def test_a_server_that_refuses_the_key_is_not_surveyed(upstream: ScriptedVLLM) -> None:
    upstream.routes["/v1/models"] = body({"error": "Unauthorized"}, status=401)
    with pytest.raises(UpstreamRefused):
        surveyed()


def test_a_server_that_is_away_is_not_surveyed(settings: Settings) -> None:
    settings.GATEWAY_UPSTREAM_URL = "http://127.0.0.1:1"
    with pytest.raises(UpstreamUnreachable):
        surveyed()


def test_a_server_that_speaks_something_else_tells_nothing(upstream: ScriptedVLLM) -> None:
    finding = found(upstream, garbage(), THINKS, FITS)["tools"]
    assert finding.works is None
