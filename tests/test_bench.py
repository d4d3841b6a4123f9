"""The bench still speaks the gateway's language: its streams are right, its judge finds no error."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import servers
from bench.dialects import CHAT, RESPONSES
from bench.load import Load, drive
from bench.loop import run
from bench.script import Script
from bench.verify import WrongError, verify

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
