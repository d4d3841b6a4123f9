"""The server around a toy application: back-pressure, body limit, drain."""

from __future__ import annotations

import http.client
import json
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from responses_gateway import hosting
from tests.programs import ROOT, Program, eventually

MEGABYTE = 1_000_000


class Toy(Program):
    """``toy_server.py`` on a port of its own."""

    def __init__(self, *flags: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.port = listening.getsockname()[1]
            fd = listening.fileno()
            command = [sys.executable, "-m", "tests.toy_server", "--fd", str(fd), *flags]
            super().__init__(command, pass_fds=[fd])
        self.line("process started")

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def send(self, text: str) -> socket.socket:
        """A connection on which this has been sent."""
        connection = self.connect()
        connection.sendall(text.replace("\n", "\r\n").encode("latin-1"))
        return connection

    def get(self, path: str) -> socket.socket:
        return self.send(f"GET {path} HTTP/1.1\nHost: toy\n\n")

    def ask(self, path: str, body: bytes | None = None) -> tuple[int, dict[str, Any] | str]:
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            client.request("POST" if body else "GET", path, body)
            response = client.getresponse()
            text = response.read().decode()
        finally:
            client.close()
        return response.status, json.loads(text) if text.startswith("{") else text

    def sent(self) -> int:
        """Bytes that the application of ``/flood`` could get rid of."""
        body = self.ask("/progress")[1]
        assert isinstance(body, dict)
        return int(body["sent"])


ToyMaker = Callable[..., Toy]


@pytest.fixture
def start() -> Iterator[ToyMaker]:
    toys: list[Toy] = []

    def make(*flags: str) -> Toy:
        toys.append(Toy(*flags))
        return toys[-1]

    yield make
    for toy in toys:
        toy.close()


def read_all(connection: socket.socket) -> bytes:
    with connection:
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def read_until(connection: socket.socket, end: bytes) -> bytes:
    data = b""
    while end not in data:
        piece = connection.recv(1 << 16)
        assert piece, data
        data += piece
    return data


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


def test_an_application_waits_for_a_client_that_does_not_read(start: ToyMaker) -> None:
    toy = start()
    with toy.get("/flood") as client:
        read_until(client, b"x")
        stopped_at = settled(toy.sent)
        assert 0 < stopped_at < 20 * MEGABYTE
        received = 0
        while received < stopped_at + 10 * MEGABYTE:
            received += len(client.recv(1 << 20))
        assert toy.sent() > stopped_at


def test_a_client_that_leaves_releases_the_application(start: ToyMaker) -> None:
    toy = start()
    with toy.get("/flood") as client:
        read_until(client, b"x")
        settled(toy.sent)
    toy.line("flood ends http.disconnect")


def test_a_client_that_resets_the_connection_behind_its_request_is_gone(start: ToyMaker) -> None:
    """The server sees both at once: there is something to read, and it is the last."""
    toy = start()
    with toy.get("/") as client:
        read_until(client, b"0\r\n\r\n")
        toy.signal(signal.SIGSTOP)
        client.sendall(b"GET /flood HTTP/1.1\r\nHost: toy\r\n\r\n")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    toy.signal(signal.SIGCONT)
    toy.line("flood ends http.disconnect")
    assert "Traceback" not in toy.output


# -- body limit ------------------------------------------------------------------------------------


def refusal(answer: bytes) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nx-request-id: req_" in head.lower()
    error: dict[str, Any] = json.loads(body)["error"]
    return error


def test_a_body_announced_as_too_large_is_refused_before_it_is_sent(start: ToyMaker) -> None:
    toy = start("--max-body-bytes", "1000")
    client = toy.send("POST /length HTTP/1.1\nHost: toy\nContent-Length: 1001\n\n")
    assert refusal(read_all(client)) == {
        "message": "The request body is larger than 1000 bytes (GATEWAY_MAX_BODY_BYTES).",
        "type": "invalid_request_error",
        "param": None,
        "code": "request_too_large",
    }


def test_a_client_that_waits_for_100_continue_gets_only_the_refusal(start: ToyMaker) -> None:
    toy = start("--max-body-bytes", "1000")
    headers = "Host: toy\nContent-Length: 1001\nExpect: 100-continue\n"
    answer = read_all(toy.send(f"POST /length HTTP/1.1\n{headers}\n"))
    assert refusal(answer)["code"] == "request_too_large"


def test_a_body_of_unknown_length_is_refused_when_it_grows_too_large(start: ToyMaker) -> None:
    toy = start("--max-body-bytes", "1000")
    client = toy.send("POST /length HTTP/1.1\nHost: toy\nTransfer-Encoding: chunked\n\n")
    for _ in range(20):
        client.sendall(b"64\r\n" + b"x" * 100 + b"\r\n")
    assert refusal(read_all(client))["code"] == "request_too_large"


def test_the_refusal_arrives_although_the_client_sends_on(start: ToyMaker) -> None:
    toy = start("--max-body-bytes", "1000")
    status, body = toy.ask("/length", b"x" * 20 * MEGABYTE)
    assert status == 413
    assert isinstance(body, dict)


def test_a_body_that_is_too_large_and_malformed_is_refused_once(start: ToyMaker) -> None:
    toy = start("--max-body-bytes", "1000")
    head = "POST / HTTP/1.1\nHost: toy\nTransfer-Encoding: chunked\n\n"
    answer = read_all(toy.send(f"{head}3e9\n{'x' * 1001}\nno chunk\n"))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert refusal(answer)["code"] == "request_too_large"


@pytest.mark.parametrize("size", [0, 1, 999_999, MEGABYTE])
def test_a_body_within_the_limit_arrives_whole(start: ToyMaker, size: int) -> None:
    assert start().ask("/length", b"x" * size) == (200, str(size))


# -- slow requests ---------------------------------------------------------------------------------

HEAD = "POST /length HTTP/1.1\nHost: toy\n"
SLOW_REQUESTS = {
    "nothing but a letter": ("P", "O"),
    "half a head": (HEAD, "X-More: 1\n"),
    "half a body": (HEAD + "Content-Length: 100\n\n", "x"),
    "half a body of unknown length": (HEAD + "Transfer-Encoding: chunked\n\n", "1\nx\n"),
}


@pytest.mark.parametrize("case", SLOW_REQUESTS)
def test_a_request_that_comes_drop_by_drop_is_cut(start: ToyMaker, case: str) -> None:
    toy = start("--request-timeout", "0.5")
    beginning, drop = SLOW_REQUESTS[case]
    client = toy.send(beginning)
    answer, ended, began = b"", False, time.monotonic()
    while not ended:
        assert time.monotonic() - began < 10, answer
        client.sendall(drop.replace("\n", "\r\n").encode())
        if select.select([client], [], [], 0.1)[0]:
            piece = client.recv(1 << 16)
            answer, ended = answer + piece, not piece
    client.close()
    assert time.monotonic() - began >= 0.4
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["error"]["code"] == "request_timeout"
    assert toy.ask("/")[0] == 200


def test_a_body_that_makes_progress_has_time(start: ToyMaker) -> None:
    toy = start("--request-timeout", "0.5")
    size = 10 * 70_000
    with toy.send(f"{HEAD}Content-Length: {size}\n\n") as client:
        for _ in range(10):
            select.select([client], [], [], 0.1)
            client.sendall(b"x" * 70_000)
        assert read_until(client, b"0\r\n\r\n").endswith(b"\r\n6\r\n700000\r\n0\r\n\r\n")


def test_an_answer_and_what_is_between_requests_may_take_longer(start: ToyMaker) -> None:
    toy = start("--request-timeout", "0.3")
    with toy.get("/stream") as client:
        toy.line("stream waits")
        read_until(client, b"first\n\r\n")
        assert not select.select([client], [], [], 0.6)[0], "the answer was cut"
        toy.ask("/release", b"now")
        read_until(client, b"0\r\n\r\n")
        assert not select.select([client], [], [], 0.6)[0], "the connection was cut"
        client.sendall(b"GET / HTTP/1.1\r\nHost: toy\r\n\r\n")
        read_until(client, b"0\r\n\r\n")


# -- refusals --------------------------------------------------------------------------------------

REFUSED = {
    "bad_request": "no request\n\n",
    "request_too_large": f"{HEAD}Content-Length: 1001\n\n{'x' * 1001}",
    "request_timeout": HEAD,
}


@pytest.mark.parametrize("code", REFUSED)
def test_a_refusal_arrives_although_the_client_sends_on(start: ToyMaker, code: str) -> None:
    toy = start("--max-body-bytes", "1000", "--request-timeout", "0.3")
    with toy.send(REFUSED[code]) as client:
        answer = read_until(client, b"}}")
        assert json.loads(answer.split(b"\r\n\r\n")[-1])["error"]["code"] == code
        for _ in range(3):
            client.sendall(b"GET / HTTP/1.1\r\nHost: toy\r\n\r\n")
            time.sleep(0.05)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


@pytest.mark.parametrize("code", REFUSED)
def test_a_refusal_does_not_cut_the_answer_before_it(start: ToyMaker, code: str) -> None:
    """The client takes its time for it."""
    toy = start("--max-body-bytes", "1000", "--request-timeout", "0.3", "--linger", "0.3")
    client = toy.send(f"GET /large HTTP/1.1\nHost: toy\n\n{REFUSED[code]}")
    toy.line("large done")
    time.sleep(1.2)
    answer = read_all(client)
    assert len(answer) > 8 * MEGABYTE
    assert json.loads(answer.split(b"\r\n\r\n")[-1])["error"]["code"] == code


# -- errors ----------------------------------------------------------------------------------------


def test_an_exception_in_mid_stream_cuts_the_response_and_the_server_goes_on(
    start: ToyMaker,
) -> None:
    toy = start()
    answer = read_all(toy.get("/broken"))
    assert b"first\n" in answer
    assert not answer.endswith(b"0\r\n\r\n")
    status, body = toy.ask("/crash")
    assert status == 500
    assert isinstance(body, dict)
    assert body["error"]["type"] == "server_error"


# -- drain -----------------------------------------------------------------------------------------


def test_streams_under_way_end_by_themselves_while_new_requests_are_refused(
    start: ToyMaker,
) -> None:
    toy = start()
    client = toy.get("/stream")
    toy.line("stream waits")
    toy.signal(signal.SIGTERM)
    toy.line("draining")
    assert toy.ask("/") == (503, "draining")
    toy.ask("/release")
    assert read_all(client).endswith(b"done\n\r\n0\r\n\r\n")
    assert toy.wait() == 0
    assert toy.lines[-1] == "process stopped"


def test_after_the_drain_time_streams_get_a_terminal_event(start: ToyMaker) -> None:
    toy = start("--drain-timeout", "0.2")
    client = toy.get("/stream")
    toy.line("stream waits")
    toy.signal(signal.SIGINT)
    assert read_all(client).endswith(b"failed\n\r\n0\r\n\r\n")
    assert toy.wait() == 0
    assert "end_all" in toy.lines


def test_runs_in_the_background_are_waited_for_and_ended(start: ToyMaker) -> None:
    toy = start("--drain-timeout", "0.2")
    toy.ask("/background")
    toy.signal(signal.SIGTERM)
    toy.line("end_all")
    assert toy.wait() == 0


def test_a_second_signal_stops_at_once(start: ToyMaker) -> None:
    toy = start()
    client = toy.get("/stuck")
    toy.line("stuck waits")
    toy.signal(signal.SIGTERM)
    toy.line("draining")
    toy.signal(signal.SIGTERM)
    toy.line("stuck cancelled")
    assert toy.wait() == 1
    client.close()


def test_idle_and_unfinished_connections_do_not_delay_the_end(start: ToyMaker) -> None:
    toy = start()
    idle = toy.get("/")
    read_until(idle, b"0\r\n\r\n")
    unfinished = toy.send("POST / HTTP/1.1\nHost: toy\nContent-Length: 100\n\nonly this")
    toy.signal(signal.SIGTERM)
    assert toy.wait(limit=10) == 0
    assert read_all(idle) == b""
    unfinished.close()


def test_a_response_that_is_written_reaches_a_slow_client_before_the_end(start: ToyMaker) -> None:
    toy = start()
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


@pytest.mark.parametrize(("own", "warnings"), [(True, 0), (False, 1)])
def test_other_servers_are_warned_about(
    monkeypatch: pytest.MonkeyPatch, own: bool, warnings: int
) -> None:
    monkeypatch.setattr(hosting, "own_server", own)
    with structlog.testing.capture_logs() as logs:
        hosting.warn_unless_own_server()
    assert [entry["log_level"] for entry in logs] == ["warning"] * warnings
