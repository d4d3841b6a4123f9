"""The Open Responses dialect: every event and every response fits that specification's own description."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.gateway import Gateway, sqlite_database
from tests.resilience.faults import FAULTS
from tests.resilience.streams import ROLL, question
from tests.scripted_vllm import ScriptedVLLM, failure

Json = dict[str, Any]

pytestmark = pytest.mark.recordings

SPECIFICATION = "openresponses-2026-04-24.openapi.json"

STREAMS = (
    "nothing wrong", "no usage", "half a call, cut by the limit", "cut after chunk 2",
    "cut after chunk 7", "500 in the stream", "400", "too long",
)  # fmt: skip
"""Of the faults: every kind of event, and every kind of end."""


@pytest.fixture(scope="module")
def specification(third_party_data: Path) -> Json:
    path = third_party_data / "spec" / SPECIFICATION
    if not path.exists():
        pytest.skip(f"set GATEWAY_TEST_DATA to the folder that holds spec/{SPECIFICATION}")
    found: Json = json.loads(path.read_text())
    return found


@pytest.fixture(scope="module")
def gateway(vllm: ScriptedVLLM, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("dialect")
    settings = {"EVENT_DIALECT": "openresponses", "STATUS_WINDOW": 0}
    running = Gateway(sqlite_database(folder), folder, upstream=vllm.url, settings=settings)
    yield running
    running.close()


def schemas(specification: Json) -> dict[str, str]:
    """The name of the schema of each type of event."""
    found = {}
    for name, schema in specification["components"]["schemas"].items():
        if name.endswith("StreamingEvent"):
            (kind,) = schema["properties"]["type"]["enum"]
            found[kind] = name
    return found


def problems(specification: Json, name: str, value: Json) -> list[str]:
    """What does not fit."""
    root = {**specification, "$ref": f"#/components/schemas/{name}"}
    validator = jsonschema.Draft202012Validator(root)
    return [
        f"{name} {'.'.join(map(str, error.absolute_path))}: {error.message[:300]}"
        for error in validator.iter_errors(value)
    ]


def events_of(content: bytes) -> list[Json]:
    assert content.endswith(b"data: [DONE]\n\n")
    lines = [line for line in content.splitlines() if line.startswith(b"data: {")]
    return [json.loads(line[6:]) for line in lines]


@pytest.mark.parametrize("name", STREAMS)
def test_every_event_fits_the_specification(
    gateway: Gateway, vllm: ScriptedVLLM, specification: Json, name: str
) -> None:
    vllm.script(FAULTS[name].reply)
    asked = question(stream=True, tools=[ROLL])
    events = events_of(gateway.http.post("/v1/responses", json=asked).content)
    known = schemas(specification)
    assert {event["type"] for event in events} <= known.keys()
    found = [
        text for event in events for text in problems(specification, known[event["type"]], event)
    ]
    assert not found, "\n".join(found)


def test_the_names_that_differ_are_those_of_the_dialect(
    gateway: Gateway, vllm: ScriptedVLLM
) -> None:
    vllm.script(FAULTS["nothing wrong"].reply)
    asked = question(stream=True, tools=[ROLL])
    kinds = {e["type"] for e in events_of(gateway.http.post("/v1/responses", json=asked).content)}
    assert {"response.reasoning.delta", "response.reasoning.done"} <= kinds
    assert not any(kind.startswith("response.reasoning_text") for kind in kinds)


def test_a_response_and_a_stored_one_fit_the_specification(
    gateway: Gateway, vllm: ScriptedVLLM, specification: Json
) -> None:
    vllm.script(FAULTS["nothing wrong"].reply, failure(400, "No."))
    response = gateway.http.post("/v1/responses", json=question(tools=[ROLL])).json()
    stored = gateway.http.get(f"/v1/responses/{response['id']}").json()
    for value in (response, stored):
        assert not problems(specification, "ResponseResource", value)
    error = gateway.http.post("/v1/responses", json=question()).json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
