"""The toy server as a child, and raw sockets in front of it."""

from __future__ import annotations

import http.client
import json
import socket
import sys
from collections.abc import Callable
from typing import Any

from tests.programs import Program


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
