"""The bench still speaks the gateway's language: its streams are right, its judge finds no error."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from apps.tools.code_interpreter.sandboxes.pyodide.install import install
from apps.tools.code_interpreter.sandboxes.pyodide.installation import Installation
from bench import report, servers
from bench.code_calls import Effort, measure
from bench.dialects import CHAT, RESPONSES
from bench.load import Load, drive
from bench.loop import run
from bench.mcp_calls import OPENS
from bench.script import Script
from bench.verify import WrongError, verify
from tests.programs import ROOT

LOADS = [
    Load(script=Script(tokens=8, stamp=1), clients=2, seconds=0.1),
    Load(script=Script(tokens=8, reasoning=4, tool=1), clients=2, seconds=0.1),
    Load(script=Script(tokens=8), clients=2, seconds=0.1, streamed=False),
]


def test_the_bench_measures_what_it_means_to(tmp_path: Path) -> None:
    with servers.upstream() as upstream:
        port = upstream.port
        with (
            servers.gateway("gateway", tmp_path / "gateway", upstream_port=port) as gateway,
            servers.relay(tmp_path / "relay", upstream_port=port) as relay,
        ):
            run(verify(gateway))
            for target, dialect in ((gateway, RESPONSES), (relay, CHAT), (upstream, CHAT)):
                assert target.dialect is dialect
                for load in LOADS:
                    figures = run(drive(target, load))
                    assert (figures.first_error, figures.errors) == ("", 0), (target.name, load)
                    assert figures.requests >= load.clients
            with pytest.raises(WrongError):
                run(verify(relay))


def test_calls_of_code_are_measured_on_every_way(redis_url: str) -> None:
    folder = Path(os.environ.get("GATEWAY_TEST_SANDBOX_DIR", ROOT / "var/test-sandbox"))
    install(Installation(folder / "pyodide"), lambda *progress: None)
    effort = Effort(rounds=1, calls=3, starts=1, containers=2)
    figures = run(measure("pyodide", folder, effort))
    assert {way: len(took) for way, took in figures.through.items()} == {"embedded": 3, "Celery": 3}
    assert len(figures.own) == 3
    assert len(figures.in_turn) == len(figures.again) == 2
    assert figures.forgotten == 0
    assert figures.idle > 50e6
    assert len(report.code_rows(figures)) == 7


def test_responses_that_call_mcp_tools_share_one_session(tmp_path: Path) -> None:
    load = Load(
        script=Script(tokens=8, hosted=2),
        clients=8,
        seconds=0.1,
        tools=({"type": "mcp", "server_label": "bench"},),
    )
    with servers.upstream() as upstream, servers.mcp_server() as port:
        gateway = servers.gateway(
            "gateway", tmp_path / "gateway", upstream_port=upstream.port, mcp_port=port
        )
        with gateway as target:
            figures = run(drive(target, load))
        seen = servers.mcp_seen(port)
    assert (figures.first_error, figures.errors) == ("", 0)
    assert figures.requests >= load.clients
    assert seen["tools/call"] >= 2 * 2 * load.clients, "two each, and as many that are not counted"
    assert sum(seen.get(method, 0) for method in OPENS) == 1
