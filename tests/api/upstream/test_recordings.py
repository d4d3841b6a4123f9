"""Every recorded answer of vLLM's chat completions, from its bytes to the items of a response."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from apps.api.protocol.deltas import Finish
from apps.api.upstream.errors import UpstreamBroke, UpstreamRefused
from apps.api.upstream.refusal import refused
from tests.api.upstream.recorded_answers import ANSWERS, BREAKS, NOT_ASKED_FOR
from tests.api.upstream.recorded_refusals import REFUSALS
from tests.api.upstream.replays import (
    Replayed,
    call,
    replay_stream,
    replay_whole,
)
from tests.scripted_vllm.replies import RECORDINGS

CHAT = "/v1/chat/completions"


def request_of(name: str) -> dict[str, Any]:
    request: dict[str, Any] = json.loads((RECORDINGS / f"{name}.request.json").read_text())
    return request


def replay_recording(name: str) -> Replayed:
    stream = RECORDINGS / f"{name}.response.sse"
    if stream.exists():
        return replay_stream(stream.read_bytes())
    return replay_whole((RECORDINGS / f"{name}.response.json").read_bytes())


def statuses() -> dict[str, int]:
    """The status of every recorded chat completion."""
    lines = (RECORDINGS / "index.jsonl").read_text().splitlines()
    found = {entry["name"]: entry["status"] for entry in map(json.loads, lines)}
    return {name: found[name] for name in found if request_of(name)["path"] == CHAT}


def test_every_recording_has_its_line() -> None:
    good = {name for name, status in statuses().items() if status == 200}
    assert good == ANSWERS.keys() | BREAKS.keys() | NOT_ASKED_FOR
    assert statuses().keys() - good == REFUSALS.keys()


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_becomes_these_items(name: str) -> None:
    replayed, expected = replay_recording(name), ANSWERS[name]
    assert replayed.error is None
    assert replayed.said == expected.said
    assert (replayed.finish, replayed.usage) == (expected.finish, expected.usage)


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_becomes_this_error(name: str) -> None:
    body = json.loads((RECORDINGS / f"{name}.response.json").read_bytes())
    error, expected = refused(statuses()[name], body), REFUSALS[name]
    assert statuses()[name] == expected.status
    assert (error.status, str(error), error.param) == (
        expected.status,
        expected.message,
        expected.param,
    )
    assert error.is_context_overflow == ("context_prompt" in name)


def test_a_stream_that_was_cut_keeps_what_it_said_and_fails() -> None:
    replayed = replay_recording("chat/stream_client_cuts")
    assert replayed.said == BREAKS["chat/stream_client_cuts"]
    assert isinstance(replayed.error, UpstreamBroke)


def test_an_error_in_a_stream_is_a_refusal_with_its_own_status() -> None:
    replayed = replay_recording("chat/stream_json_schema_bad_schema")
    assert replayed.said == []
    assert isinstance(replayed.error, UpstreamRefused)
    assert replayed.error.status == 400
    assert str(replayed.error) == "Grammar error: Invalid type: nonsense"


# --- Streamed and not -----------------------------------------------------------------------------

INCONSISTENT = {
    "chat/stream_tool_cut_by_length",  # not streamed, the call is text
    "chat/stream_tool_required_cut_by_length",  # streamed, the text is lost
    "guarded/deepseek_r1_stream",  # not streamed, the answer is in the reasoning
}
"""Where vLLM itself answers differently."""


def twins() -> list[tuple[str, str]]:
    """Streams, and answers to the same request without a stream."""

    def asked(name: str) -> tuple[str, dict[str, Any]]:
        body = request_of(name)["body"]
        rest = {key: body[key] for key in body if key not in ("stream", "stream_options")}
        return name.split("/")[0], rest

    streams = [name for name in ANSWERS if request_of(name)["body"].get("stream")]
    whole = [name for name in ANSWERS if name not in streams]
    return [(a, b) for a in streams for b in whole if asked(a) == asked(b)]


def test_there_are_twins_to_compare() -> None:
    assert len(twins()) > 20
    assert {stream for stream, _ in twins()} > INCONSISTENT


@pytest.mark.parametrize(("stream", "whole"), twins())
def test_a_stream_says_what_the_whole_answer_says(stream: str, whole: str) -> None:
    same = replay_recording(stream).said == replay_recording(whole).said
    assert same == (stream not in INCONSISTENT)


# --- Of other servers -----------------------------------------------------------------------------

OTHERS: dict[str, tuple[list[str], Finish]] = {
    "text-single.yaml": (["text"], Finish.STOP),
    "text-single-stream.yaml": (["text"], Finish.STOP),
    "text-max_tokens-length-stream.yaml": (["text"], Finish.LENGTH),
    "vllm-code_interpreter-step1-stream.yaml": (["reasoning", "text", "call"], Finish.STOP),
    "vllm-code_interpreter-step2-stream.yaml": (["reasoning", "text"], Finish.STOP),
}
"""The kinds of items and why the turn ended, by recording."""


def recorded_elsewhere(folder: Path, name: str) -> dict[str, Any]:
    text = (folder / "recordings" / "vllm-chat" / name).read_text()
    response: dict[str, Any] = yaml.safe_load(text)["response"]
    return response


@pytest.mark.parametrize("name", OTHERS)
def test_an_answer_of_another_server_is_understood(name: str, third_party_data: Path) -> None:
    response = recorded_elsewhere(third_party_data, name)
    if "sse" in response:
        replayed = replay_stream("".join(response["sse"]).encode())
    else:
        replayed = replay_whole(json.dumps(response["body"]).encode())
    kinds, finish = OTHERS[name]
    assert replayed.error is None
    assert [kind for kind, *_ in replayed.said] == kinds
    assert replayed.finish is finish


def test_reasoning_under_both_of_its_names_is_said_once(third_party_data: Path) -> None:
    response = recorded_elsewhere(third_party_data, "vllm-code_interpreter-step1-stream.yaml")
    stream = "".join(response["sse"])
    replayed = replay_stream(stream.encode())
    told = re.findall(r'"reasoning":("(?:[^"\\]|\\.)*")', stream)
    assert replayed.said[0][1] == "".join(map(json.loads, told))
    assert replayed.said[-1] == call("code_interpreter", '{"code": "2+2"}')


def test_an_error_of_another_server_is_understood(third_party_data: Path) -> None:
    response = recorded_elsewhere(third_party_data, "model-not-found-stream.yaml")
    error = refused(response["status_code"], response["body"])
    assert (error.status, error.param) == (404, "model")
    assert "does not exist" in str(error)
