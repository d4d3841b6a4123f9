"""Answers in the form of a JSON schema."""

from __future__ import annotations

from typing import Any

import openai
import pydantic
import pytest

from tests.acceptance.exchanges import create, refused
from tests.gateway import Gateway
from tests.scripted_vllm import ScriptedVLLM, failure, text

Json = dict[str, Any]

SCHEMA: Json = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


class Weather(pydantic.BaseModel):
    city: str
    degrees: int


def test_parse_gives_an_instance_of_the_model(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(text('{"city": "Rome", ', '"degrees": 21}'))
    response = client.responses.parse(model="tiny", input="Weather?", text_format=Weather)
    assert response.output_parsed == Weather(city="Rome", degrees=21)
    assert vllm.requests[-1].body["response_format"] == {
        "type": "json_schema",
        "json_schema": {
            "name": "Weather",
            "schema": {
                "title": "Weather",
                "type": "object",
                "properties": {
                    "city": {"title": "City", "type": "string"},
                    "degrees": {"title": "Degrees", "type": "integer"},
                },
                "required": ["city", "degrees"],
                "additionalProperties": False,
            },
            "strict": True,
        },
    }


def test_parse_works_on_streams(client: openai.OpenAI, vllm: ScriptedVLLM) -> None:
    vllm.script(text('{"city": "Rome", ', '"degrees": 21}'))
    with client.responses.stream(model="tiny", input="Weather?", text_format=Weather) as stream:
        assert stream.get_final_response().output_parsed == Weather(city="Rome", degrees=21)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (
            {"type": "json_schema", "name": "number", "schema": SCHEMA},
            {"type": "json_schema", "json_schema": {"name": "number", "schema": SCHEMA}},
        ),
        (
            {
                "type": "json_schema",
                "name": "number",
                "schema": SCHEMA,
                "strict": False,
                "description": "A number.",
            },
            {
                "type": "json_schema",
                "json_schema": {
                    "name": "number",
                    "schema": SCHEMA,
                    "strict": False,
                    "description": "A number.",
                },
            },
        ),
        ({"type": "json_object"}, {"type": "json_object"}),
    ],
    ids=["schema", "schema in full", "object"],
)
def test_the_format_reaches_the_upstream(
    gateway: Gateway, vllm: ScriptedVLLM, given: Json, sent: Json
) -> None:
    vllm.script(text('{"n": 1}'))
    response = create(gateway, text={"format": given})
    assert response["text"]["format"] == given
    assert vllm.requests[-1].body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": False,
        "response_format": sent,
    }


def test_plain_text_asks_for_no_format(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    create(gateway, text={"format": {"type": "text"}})
    assert "response_format" not in vllm.requests[-1].body


def test_format_and_tools_go_together(gateway: Gateway, vllm: ScriptedVLLM) -> None:
    create(
        gateway,
        text={"format": {"type": "json_object"}},
        tools=[{"type": "function", "name": "stop"}],
    )
    assert {"response_format", "tools"} <= vllm.requests[-1].body.keys()


def test_a_schema_that_the_upstream_cannot_use_is_a_bad_request(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(failure(400, "Grammar error: Invalid type: nonsense", param="response_format"))
    asked = {
        "model": "tiny",
        "input": "Hi",
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "nonsense"}}},
    }
    refused(
        gateway.http.post("/v1/responses", json=asked),
        400,
        code="invalid_value",
        param="text.format",
    )
