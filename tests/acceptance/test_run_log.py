"""The line that the log gets for each response, as far as the operator wants it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import Gateway, sqlite_database
from tests.resilience.streams import create, question
from tests.scripted_vllm import ScriptedVLLM, garbage, text

Maker = Callable[[str], Gateway]


@pytest.fixture
def logging(tmp_path: Path, vllm: ScriptedVLLM) -> Iterator[Maker]:
    made: list[Gateway] = []

    def make(log_runs: str) -> Gateway:
        settings = {"LOG_RUNS": log_runs, "LOG_FORMAT": "json"}
        database = sqlite_database(tmp_path)
        made.append(Gateway(database, tmp_path, upstream=vllm.url, settings=settings))
        return made[-1]

    yield make
    for gateway in made:
        gateway.close()


def line(gateway: Gateway, response_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gateway.program.line(response_id))
    return found


def test_a_line_has_ids_and_counts_and_no_content(logging: Maker, vllm: ScriptedVLLM) -> None:
    gateway = logging("line")
    vllm.script(text("a secret answer"))
    response = create(gateway, input="a secret question")
    found = line(gateway, response["id"])
    assert found["event"] == "run ended"
    assert found["request_id"].startswith("req_")
    assert found["project_id"] == 1
    assert (found["status"], found["turns"]) == ("completed", 1)
    assert found["output_tokens"] == response["usage"]["output_tokens"]
    assert "secret" not in gateway.program.output


def test_whatever_goes_wrong_is_logged_with_all_ids(logging: Maker, vllm: ScriptedVLLM) -> None:
    gateway = logging("off")
    vllm.script(text("A") + garbage())
    answer = gateway.http.post("/v1/responses", json=question())
    found = json.loads(gateway.program.line("run failed"))
    assert found["request_id"] == answer.headers["X-Request-Id"]
    assert found["response_id"].startswith("resp_")
    assert found["project_id"] == 1


def test_content_is_logged_only_by_setting_and_only_where_it_is_stored(
    logging: Maker, vllm: ScriptedVLLM
) -> None:
    gateway = logging("content")
    vllm.script(text("an answer"), text("a secret answer"))
    kept = line(gateway, create(gateway, input="a question")["id"])
    assert json.loads(kept["input"][0])["content"][0]["text"] == "a question"
    assert json.loads(kept["output"][0])["content"][0]["text"] == "an answer"
    unkept = line(gateway, create(gateway, input="a secret question", store=False)["id"])
    assert "input" not in unkept
    assert "secret" not in gateway.program.output
