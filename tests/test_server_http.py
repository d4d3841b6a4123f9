"""What the server makes of HTTP on the wire: one toy application, raw sockets."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from responses_gateway.heads import LARGEST
from tests.toy import Toy, read_all, read_until


@pytest.fixture(scope="module")
def toy() -> Iterator[Toy]:
    running = Toy()
    yield running
    running.close()


def ended(answer: bytes) -> tuple[bytes, dict[str, str], bytes]:
    """Status line, headers and what follows."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return status.encode(), dict(line.lower().split(": ", 1) for line in lines), body


def error_of(answer: bytes) -> dict[str, Any]:
    """The error of an answer after which the connection ends."""
    _, headers, body = ended(answer)
    assert headers["connection"] == "close"
    assert headers["x-request-id"].startswith("req_")
    assert int(headers["content-length"]) == len(body)
    error: dict[str, Any] = json.loads(body)["error"]
    return error


def echoed(toy: Toy, text: str) -> dict[str, Any]:
    with toy.send(text) as client:
        body = ended(read_until(client, b"0\r\n\r\n"))[2]
    told: dict[str, Any] = json.loads(body.split(b"\r\n")[1])
    return told


def test_the_application_has_the_request(toy: Toy) -> None:
    with toy.send("GET /echo?b=%C3%A4 HTTP/1.1\nHost: toy\nX-Note: a\n\n") as client:
        address = list(client.getsockname())
        body = ended(read_until(client, b"0\r\n\r\n"))[2]
    assert json.loads(body.split(b"\r\n")[1]) == {
        "http_version": "1.1",
        "method": "GET",
        "path": "/echo",
        "query": "b=%C3%A4",
        "headers": [["host", "toy"], ["x-note", "a"]],
        "client": address,
        "server": ["127.0.0.1", toy.port],
    }


def test_a_path_is_unquoted(toy: Toy) -> None:
    assert echoed(toy, "GET /%65cho HTTP/1.1\nHost: toy\n\n")["path"] == "/echo"


def test_a_body_that_came_in_chunks_has_a_length(toy: Toy) -> None:
    """Django reads no form without."""
    chunks = "2\nab\n1\nc\n0\nX-Trailer: d\n\n"
    told = echoed(toy, f"POST /echo HTTP/1.1\nHost: toy\nTransfer-Encoding: chunked\n\n{chunks}")
    assert told["headers"] == [["host", "toy"], ["content-length", "3"]]


def test_nobody_but_the_operator_says_where_the_application_is(toy: Toy) -> None:
    """Daphne takes the root path from a header, whoever sends it."""
    told = echoed(toy, "GET /echo HTTP/1.1\nHost: toy\nDaphne-Root-Path: /evil\n\n")
    assert told["path"] == "/echo"


@pytest.mark.parametrize("before", ["", "\n", "\n\n\n"], ids=["none", "one", "three"])
def test_empty_lines_before_a_request_mean_nothing(toy: Toy, before: str) -> None:
    assert echoed(toy, f"{before}GET /echo HTTP/1.1\nHost: toy\n\n")["method"] == "GET"


def test_a_head_may_come_in_pieces(toy: Toy) -> None:
    with toy.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for letter in "POST /a HTTP/1.1\r\nHost: toy\r\nContent-Length: 3\r\n\r\nab":
            client.sendall(letter.encode())
        client.sendall(b"c")
        assert b"\r\n3\r\n" in read_until(client, b"0\r\n\r\n")


def test_requests_in_one_piece_are_answered_in_their_order(toy: Toy) -> None:
    chunked = "POST /c HTTP/1.1\nHost: toy\nTransfer-Encoding: chunked\n\n2\nab\n1\nc\n0\n\n"
    whole = "POST /b HTTP/1.1\nHost: toy\nContent-Length: 4\n\nabcd"
    last = "GET /sized HTTP/1.1\nHost: toy\nConnection: close\n\n"
    answer = read_all(toy.send(f"GET /empty HTTP/1.1\nHost: toy\n\n{whole}{chunked}{last}"))
    statuses = [part.split(b"\r\n")[0] for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"204 No Content", b"200 OK", b"200 OK", b"200 OK"]
    assert answer.index(b"\r\n4\r\n") < answer.index(b"\r\n3\r\n") < answer.index(b"sized")


def test_many_refused_requests_in_one_piece(toy: Toy) -> None:
    """Each is answered while the next one waits, not inside of it."""
    one = "GET / HTTP/1.1\nHost: toy\nConnection: Upgrade\nUpgrade: websocket\n\n"
    with toy.send(one * 2000) as client:
        answer = b""
        while answer.count(b"HTTP/1.1 426 Upgrade Required") < 2000:
            piece = client.recv(1 << 16)
            assert piece, answer[-500:]
            answer += piece


def test_clients_of_http_1_0_read_to_the_end(toy: Toy) -> None:
    status, headers, body = ended(read_all(toy.send("GET / HTTP/1.0\nConnection: keep-alive\n\n")))
    assert status == b"HTTP/1.0 200 OK"
    assert headers["connection"] == "close"
    assert "transfer-encoding" not in headers
    assert body == b"0"


def test_an_answer_to_head_has_no_body(toy: Toy) -> None:
    answer = read_all(toy.send("HEAD /sized HTTP/1.1\nHost: toy\nConnection: close\n\n"))
    status, headers, body = ended(answer)
    assert (status, headers["content-length"], body) == (b"HTTP/1.1 200 OK", "5", b"")


def test_an_answer_without_content_has_no_body(toy: Toy) -> None:
    answer = read_all(toy.send("GET /empty HTTP/1.1\nHost: toy\nConnection: close\n\n"))
    assert "transfer-encoding" not in ended(answer)[1]
    assert ended(answer)[2] == b""


def test_a_client_that_waits_is_told_to_go_on(toy: Toy) -> None:
    headers = "Host: toy\nContent-Length: 3\nExpect: 100-continue\n"
    with toy.send(f"POST / HTTP/1.1\n{headers}\n") as client:
        assert read_until(client, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"abc")
        assert b"\r\n3\r\n" in read_until(client, b"0\r\n\r\n")


@pytest.mark.parametrize(
    "text",
    [
        "GET /\n\n",
        "MAKE / HTTP/1.1\nHost: toy\n\n",
        "GET / HTTP/1.1\nHost: toy\nX-Note: a\x0bb\n\n",
        "POST / HTTP/1.1\nHost: toy\nContent-Length: 3\nTransfer-Encoding: chunked\n\n0\n\n",
        "POST / HTTP/1.1\nHost: toy\nTransfer-Encoding: chunked\n\nno chunk\n",
    ],
    ids=["no version", "method", "control character", "two lengths", "chunks"],
)
def test_a_malformed_request_is_the_last_one(toy: Toy, text: str) -> None:
    """What follows it could be part of it."""
    answer = read_all(toy.send(text + "GET / HTTP/1.1\nHost: toy\n\n"))
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"HTTP/1.1 200 " not in answer
    error = error_of(answer)
    assert (error["type"], error["code"]) == ("invalid_request_error", "bad_request")


@pytest.mark.parametrize("headers", [1, 300], ids=["one", "many"])
def test_a_head_that_is_too_large_is_refused(toy: Toy, headers: int) -> None:
    lines = f"X-Note: {'a' * (LARGEST // headers)}\n" * headers
    client = toy.send(f"GET / HTTP/1.1\nHost: toy\n{lines}")
    client.sendall(b"X-More: b\r\n" * 10_000)
    answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert error_of(answer)["code"] == "headers_too_large"


def test_a_header_of_an_answer_is_one_line(toy: Toy) -> None:
    status, body = toy.ask("/split")
    assert status == 500
    assert isinstance(body, dict)
    assert "x-more" not in json.dumps(body)


def test_an_answer_begins_once(toy: Toy) -> None:
    answer = read_all(toy.get("/twice"))
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert not answer.endswith(b"0\r\n\r\n")
