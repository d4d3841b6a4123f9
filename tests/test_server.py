"""The server around a toy application: back-pressure, clients that leave, drain."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import structlog

from responses_gateway import hosting
from responses_gateway.arrival import Channel
from responses_gateway.server import Factory
from tests.programs import ROOT, eventually
from tests.toy import ToyMaker, read_all, read_until

MEGABYTE = 1_000_000


def settled(read: Callable[[], int]) -> int:
    """A counter's value once it has stopped growing for half a second."""
    last, since = read(), time.monotonic()

    def unchanged() -> bool:
        nonlocal last, since
        if (value := read()) != last:
            last, since = value, time.monotonic()
        return time.monotonic() - since > 0.5

    eventually(unchanged, what="the counter stands still")
    return last


# -- back-pressure ---------------------------------------------------------------------------------


def test_an_application_waits_for_a_client_that_does_not_read(start_toy: ToyMaker) -> None:
    toy = start_toy()
    with toy.get("/flood") as client:
        read_until(client, b"x")
        stopped_at = settled(toy.sent)
        assert 0 < stopped_at < 20 * MEGABYTE
        received = 0
        while received < stopped_at + 10 * MEGABYTE:
            received += len(client.recv(1 << 20))
        assert toy.sent() > stopped_at


def test_a_client_that_leaves_releases_the_application(start_toy: ToyMaker) -> None:
    toy = start_toy()
    with toy.get("/flood") as client:
        read_until(client, b"x")
        settled(toy.sent)
    toy.line("flood ends http.disconnect")


def test_a_client_that_resets_the_connection_behind_its_request_is_gone(
    start_toy: ToyMaker,
) -> None:
    """The server sees both at once: there is something to read, and it is the last."""
    toy = start_toy()
    with toy.get("/") as client:
        read_until(client, b"0\r\n\r\n")
        toy.signal(signal.SIGSTOP)
        client.sendall(b"GET /flood HTTP/1.1\r\nHost: toy\r\n\r\n")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    toy.signal(signal.SIGCONT)
    toy.line("flood ends http.disconnect")
    assert "Traceback" not in toy.output


# -- errors ----------------------------------------------------------------------------------------


def test_an_exception_in_mid_stream_cuts_the_response_and_the_server_goes_on(
    start_toy: ToyMaker,
) -> None:
    toy = start_toy()
    answer = read_all(toy.get("/broken"))
    assert b"first\n" in answer
    assert not answer.endswith(b"0\r\n\r\n")
    status, body = toy.ask("/crash")
    assert status == 500
    assert isinstance(body, dict)
    assert body["error"]["type"] == "server_error"


# -- drain -----------------------------------------------------------------------------------------


def test_streams_under_way_end_by_themselves_while_new_requests_are_refused(
    start_toy: ToyMaker,
) -> None:
    toy = start_toy()
    client = toy.get("/stream")
    toy.line("stream waits")
    toy.signal(signal.SIGTERM)
    toy.line("draining")
    assert toy.ask("/") == (503, "draining")
    toy.ask("/release")
    assert read_all(client).endswith(b"done\n\r\n0\r\n\r\n")
    assert toy.wait() == 0
    assert toy.lines[-1] == "process stopped"


def test_after_the_drain_time_streams_get_a_terminal_event(start_toy: ToyMaker) -> None:
    toy = start_toy("--drain-timeout", "0.2")
    client = toy.get("/stream")
    toy.line("stream waits")
    toy.signal(signal.SIGINT)
    assert read_all(client).endswith(b"failed\n\r\n0\r\n\r\n")
    assert toy.wait() == 0
    assert "end_all" in toy.lines


def test_runs_in_the_background_are_waited_for_and_ended(start_toy: ToyMaker) -> None:
    toy = start_toy("--drain-timeout", "0.2")
    toy.ask("/background")
    toy.signal(signal.SIGTERM)
    toy.line("end_all")
    assert toy.wait() == 0


def test_a_second_signal_stops_at_once(start_toy: ToyMaker) -> None:
    toy = start_toy()
    client = toy.get("/stuck")
    toy.line("stuck waits")
    toy.signal(signal.SIGTERM)
    toy.line("draining")
    toy.signal(signal.SIGTERM)
    toy.line("stuck cancelled")
    assert toy.wait() == 1
    client.close()


def test_idle_and_unfinished_connections_do_not_delay_the_end(start_toy: ToyMaker) -> None:
    toy = start_toy()
    idle = toy.get("/")
    read_until(idle, b"0\r\n\r\n")
    unfinished = toy.send("POST / HTTP/1.1\nHost: toy\nContent-Length: 100\n\nonly this")
    toy.signal(signal.SIGTERM)
    assert toy.wait(limit=10) == 0
    assert read_all(idle) == b""
    unfinished.close()


def test_a_response_that_is_written_reaches_a_slow_client_before_the_end(
    start_toy: ToyMaker,
) -> None:
    toy = start_toy()
    client = toy.get("/large")
    toy.line("large done")
    toy.signal(signal.SIGTERM)
    toy.line("draining")
    answer = read_all(client)
    assert len(answer) > 8 * MEGABYTE
    assert answer.endswith(b"0\r\n\r\n")
    assert toy.wait() == 0


# -- surroundings ----------------------------------------------------------------------------------


def test_the_event_loop_is_uvloop() -> None:
    pytest.importorskip("uvloop")
    code = (
        "import responses_gateway.server as s;"
        "print(type(s.reactor._asyncioEventloop).__module__.split('.')[0])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "uvloop"


def test_a_connection_that_cannot_be_ended_keeps_no_other_from_its_limit() -> None:
    factory = Factory(server=None)  # type: ignore[arg-type]  # none that it would need
    factory.channels = {Channel(), Channel()}  # they have no transport
    for channel in factory.channels:
        channel.due = 0.0
    with structlog.testing.capture_logs() as logs:
        factory.look()
    assert [entry["log_level"] for entry in logs] == ["error", "error"]


@pytest.mark.parametrize(("own", "warnings"), [(True, 0), (False, 1)])
def test_other_servers_are_warned_about(
    monkeypatch: pytest.MonkeyPatch, own: bool, warnings: int
) -> None:
    monkeypatch.setattr(hosting, "own_server", own)
    with structlog.testing.capture_logs() as logs:
        hosting.warn_unless_own_server()
    assert [entry["log_level"] for entry in logs] == ["warning"] * warnings
