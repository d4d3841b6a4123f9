"""Whatever an upstream does, the stream has exactly one end: the row says the same, and the official
clients, in Python and in JavaScript, read it so."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway import Gateway, sqlite_database
from tests.programs import ROOT
from tests.resilience.faults import FAULTS, HASTE, SMALL
from tests.resilience.rows import row_of
from tests.resilience.streams import ROLL, Json, Stream, judged, retrieve
from tests.scripted_vllm import ScriptedVLLM
from tests.tcp_proxy import TcpProxy

JAVASCRIPT = ROOT / "tests" / "javascript"
REFUSES = "connections are refused"

SERVER_ERRORS = {"server_error", "upstream_timeout", "upstream_unavailable", "rate_limit_exceeded"}
"""The codes after which clients ask again."""


class Played:
    """The stream of one fault as a client got it."""

    def __init__(self, stream: Stream, response: Json) -> None:
        self.raw, self.events, self.response = stream.raw, stream.events, response


@pytest.fixture(scope="module")
def gateway(network: TcpProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One that begins every stream at once, and does not wait long for its upstream."""
    folder = tmp_path_factory.mktemp("matrix")
    database = sqlite_database(folder)
    running = Gateway(database, folder, upstream=network.url, settings=HASTE | {"STATUS_WINDOW": 0})
    yield running
    running.close()


@pytest.fixture(scope="module")
def played(gateway: Gateway, vllm: ScriptedVLLM, network: TcpProxy) -> dict[str, Played]:
    """Every fault, once."""
    streams = {}
    for name, fault in FAULTS.items():
        vllm.script(fault.reply)
        streams[name] = _play(gateway)
    network.cut()
    try:
        streams[REFUSES] = _play(gateway)
    finally:
        network.mend()
    return streams


def _play(gateway: Gateway) -> Played:
    stream = Stream(gateway, tools=[ROLL])
    return Played(stream, stream.end())


@pytest.mark.parametrize("name", FAULTS)
def test_a_stream_has_one_end_and_its_row_says_the_same(
    gateway: Gateway, played: dict[str, Played], name: str
) -> None:
    fault, response = FAULTS[name], played[name].response
    assert response == judged(played[name].raw, played[name].events)
    assert response["status"] == fault.status
    assert (response["error"] or {}).get("code", "") == fault.code
    row = row_of(gateway.database, response["id"])
    assert row is not None
    assert row.failure == (fault.status, fault.stage, fault.code, fault.upstream_status)
    assert retrieve(gateway, response["id"]) == response


def test_an_upstream_that_refuses_connections_is_one_of_them(played: dict[str, Played]) -> None:
    assert played[REFUSES].response["error"]["code"] == "upstream_unavailable"


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.code])
def test_only_what_repeating_may_mend_invites_to_repeat(name: str) -> None:
    assert (FAULTS[name].code in SERVER_ERRORS) == FAULTS[name].repeatable


def test_calls_with_one_id_are_told_apart(played: dict[str, Played]) -> None:
    output = played["call ids that repeat"].response["output"]
    assert len({item["call_id"] for item in output}) == 2


def test_half_a_call_is_incomplete(played: dict[str, Played]) -> None:
    response = played["half a call, cut by the limit"].response
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert [item["status"] for item in response["output"]] == ["incomplete"]


def test_usage_that_did_not_come_is_not_made_up(played: dict[str, Played]) -> None:
    assert played["no usage"].response["usage"] is None
    assert played["nothing wrong"].response["usage"]["output_tokens"] > 0


def test_the_official_javascript_client_reads_every_stream_alike(
    played: dict[str, Played], tmp_path: Path
) -> None:
    verdicts = javascript(tmp_path, {name: stream.raw for name, stream in played.items()})
    assert verdicts.keys() == played.keys()
    for name, (loop, helper) in verdicts.items():
        assert loop == helper == _expected(played[name].response), name


def _expected(response: Json) -> Json:
    if response["status"] == "failed":
        return {"error": response["error"]}
    return {
        "end": f"response.{response['status']}",
        "id": response["id"],
        "output": [item["type"] for item in response["output"]],
    }


def javascript(folder: Path, streams: dict[str, bytes]) -> dict[str, list[Any]]:
    """What a plain loop and the helper of the official JavaScript client make of streams."""
    node = shutil.which("node")
    if node is None or not (JAVASCRIPT / "node_modules" / "openai").is_dir():
        pytest.skip("no JavaScript client: install Node.js and run `npm ci` in tests/javascript")
    names = dict(enumerate(streams))
    for number, name in names.items():
        (folder / f"{number}.sse").write_bytes(streams[name])
    command = [node, str(JAVASCRIPT / "judge.mjs"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {names[int(number)]: both for number, both in json.loads(done.stdout).items()}


def test_the_matrix_cuts_at_every_chunk(vllm: ScriptedVLLM, gateway: Gateway) -> None:
    """One boundary more, and nothing is cut."""
    number = sum(name.startswith("cut after") for name in FAULTS)
    vllm.script(SMALL.but(cut_after=number))
    assert Stream(gateway, tools=[ROLL]).end()["status"] == "completed"
