"""Clients that do not read: the gateway keeps little for them, and holds the upstream back."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
import pytest

from tests.gateway import Gateway, sqlite_database
from tests.programs import eventually
from tests.resilience.streams import Stream, create, question
from tests.scripted_vllm import Reply, ScriptedVLLM, raw, text
from tests.tcp_proxy import TcpProxy

CLIENTS = 3
TOKENS = 200_000
LIMIT = 10_000_000  # bytes of memory for each

STILL = 0.5
"""Seconds without a byte from the upstream after which it counts as held back."""


@pytest.fixture
def network(vllm: ScriptedVLLM) -> Iterator[TcpProxy]:
    with TcpProxy(vllm.url) as proxy:
        yield proxy


@pytest.fixture
def gateway(network: TcpProxy, tmp_path: Path) -> Iterator[Gateway]:
    running = Gateway(sqlite_database(tmp_path), tmp_path, upstream=network.url)
    yield running
    running.close()


def endless() -> tuple[Reply, int]:
    """A very long answer, and its length in bytes."""
    choice = {"index": 0, "delta": {"content": "words "}, "logprobs": None, "finish_reason": None}
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "tiny"}
    frame = b"data: " + json.dumps({**chunk, "choices": [choice]}).encode() + b"\n\n"
    one = raw(frame, bare=True)
    return Reply(one.parts * TOKENS, one.options), TOKENS * len(frame)


def stalled(gateway: Gateway) -> socket.socket:
    """A client that asks for a stream and does not read it."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    parts = urlsplit(gateway.url)
    connection.connect((parts.hostname, parts.port))
    body = json.dumps(question(stream=True)).encode()
    head = (
        f"POST /v1/responses HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def wait_until_still(network: TcpProxy) -> None:
    """Until the upstream has sent nothing for a while."""
    last = (network.received, time.monotonic())

    def still() -> bool:
        nonlocal last
        if network.received != last[0]:
            last = (network.received, time.monotonic())
        return time.monotonic() - last[1] > STILL

    eventually(still)


def test_stalled_readers_cost_little_and_hold_the_upstream_back(
    gateway: Gateway, vllm: ScriptedVLLM, network: TcpProxy
) -> None:
    program = psutil.Process(gateway.program.process.pid)
    vllm.script(text(*["word "] * 2000))
    Stream(gateway).end()
    before, sent_before = program.memory_info().rss, network.received

    reply, length = endless()
    vllm.script(*[reply] * CLIENTS)
    number = len(vllm.requests)
    connections = [stalled(gateway) for _ in range(CLIENTS)]
    asked = vllm.wait_for_requests(number + CLIENTS)[number:]
    wait_until_still(network)
    assert network.received - sent_before < CLIENTS * length / 3
    assert program.memory_info().rss - before <= CLIENTS * LIMIT

    # Others are served meanwhile, and those who leave are noticed.
    assert create(gateway)["status"] == "completed"
    assert not any(request.finished.is_set() for request in asked)
    for connection in connections:
        connection.close()
    for request in asked:
        assert request.aborted.wait(5)
    statuses = "SELECT status FROM store_response ORDER BY created_at"
    eventually(
        lambda: (
            [status for (status,) in gateway.database.query(statuses)].count("cancelled") == CLIENTS
        )
    )
