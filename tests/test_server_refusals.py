"""What the server refuses: bodies that are too large, requests that are too slow; and how."""

from __future__ import annotations

import json
import select
import socket
import time
from typing import Any

import pytest

from tests.toy import ToyMaker, read_all, read_until

MEGABYTE = 1_000_000

# -- body limit ------------------------------------------------------------------------------------


def refusal(answer: bytes) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nx-request-id: req_" in head.lower()
    error: dict[str, Any] = json.loads(body)["error"]
    return error


def test_a_body_announced_as_too_large_is_refused_before_it_is_sent(start_toy: ToyMaker) -> None:
    toy = start_toy("--max-body-bytes", "1000")
    client = toy.send("POST /length HTTP/1.1\nHost: toy\nContent-Length: 1001\n\n")
    assert refusal(read_all(client)) == {
        "message": "The request body is larger than 1000 bytes (GATEWAY_MAX_BODY_BYTES).",
        "type": "invalid_request_error",
        "param": None,
        "code": "request_too_large",
    }


def test_a_client_that_waits_for_100_continue_gets_only_the_refusal(start_toy: ToyMaker) -> None:
    toy = start_toy("--max-body-bytes", "1000")
    headers = "Host: toy\nContent-Length: 1001\nExpect: 100-continue\n"
    answer = read_all(toy.send(f"POST /length HTTP/1.1\n{headers}\n"))
    assert refusal(answer)["code"] == "request_too_large"


def test_a_body_of_unknown_length_is_refused_when_it_grows_too_large(start_toy: ToyMaker) -> None:
    toy = start_toy("--max-body-bytes", "1000")
    client = toy.send("POST /length HTTP/1.1\nHost: toy\nTransfer-Encoding: chunked\n\n")
    for _ in range(20):
        client.sendall(b"64\r\n" + b"x" * 100 + b"\r\n")
    assert refusal(read_all(client))["code"] == "request_too_large"


def test_the_refusal_arrives_although_the_client_sends_on(start_toy: ToyMaker) -> None:
    toy = start_toy("--max-body-bytes", "1000")
    status, body = toy.ask("/length", b"x" * 20 * MEGABYTE)
    assert status == 413
    assert isinstance(body, dict)


def test_a_body_that_is_too_large_and_malformed_is_refused_once(start_toy: ToyMaker) -> None:
    toy = start_toy("--max-body-bytes", "1000")
    head = "POST / HTTP/1.1\nHost: toy\nTransfer-Encoding: chunked\n\n"
    answer = read_all(toy.send(f"{head}3e9\n{'x' * 1001}\nno chunk\n"))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert refusal(answer)["code"] == "request_too_large"


@pytest.mark.parametrize("size", [0, 1, 999_999, MEGABYTE])
def test_a_body_within_the_limit_arrives_whole(start_toy: ToyMaker, size: int) -> None:
    assert start_toy().ask("/length", b"x" * size) == (200, str(size))


# -- slow requests ---------------------------------------------------------------------------------

HEAD = "POST /length HTTP/1.1\nHost: toy\n"
SLOW_REQUESTS = {
    "nothing but a letter": ("P", "O"),
    "half a head": (HEAD, "X-More: 1\n"),
    "half a body": (HEAD + "Content-Length: 100\n\n", "x"),
    "half a body of unknown length": (HEAD + "Transfer-Encoding: chunked\n\n", "1\nx\n"),
}


@pytest.mark.parametrize("case", SLOW_REQUESTS)
def test_a_request_that_comes_drop_by_drop_is_cut(start_toy: ToyMaker, case: str) -> None:
    toy = start_toy("--request-timeout", "0.5")
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


def test_a_body_that_makes_progress_has_time(start_toy: ToyMaker) -> None:
    toy = start_toy("--request-timeout", "0.5")
    size = 10 * 70_000
    with toy.send(f"{HEAD}Content-Length: {size}\n\n") as client:
        for _ in range(10):
            select.select([client], [], [], 0.1)
            client.sendall(b"x" * 70_000)
        assert read_until(client, b"0\r\n\r\n").endswith(b"\r\n6\r\n700000\r\n0\r\n\r\n")


def test_an_answer_and_what_is_between_requests_may_take_longer(start_toy: ToyMaker) -> None:
    toy = start_toy("--request-timeout", "0.3")
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
def test_a_refusal_arrives_although_the_client_sends_on(start_toy: ToyMaker, code: str) -> None:
    toy = start_toy("--max-body-bytes", "1000", "--request-timeout", "0.3")
    with toy.send(REFUSED[code]) as client:
        answer = read_until(client, b"}}")
        assert json.loads(answer.split(b"\r\n\r\n")[-1])["error"]["code"] == code
        for _ in range(3):
            client.sendall(b"GET / HTTP/1.1\r\nHost: toy\r\n\r\n")
            time.sleep(0.05)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""


@pytest.mark.parametrize("code", REFUSED)
def test_a_refusal_does_not_cut_the_answer_before_it(start_toy: ToyMaker, code: str) -> None:
    """The client takes its time for it."""
    toy = start_toy("--max-body-bytes", "1000", "--request-timeout", "0.3", "--linger", "0.3")
    client = toy.send(f"GET /large HTTP/1.1\nHost: toy\n\n{REFUSED[code]}")
    toy.line("large done")
    time.sleep(1.2)
    answer = read_all(client)
    assert len(answer) > 8 * MEGABYTE
    assert json.loads(answer.split(b"\r\n\r\n")[-1])["error"]["code"] == code
