"""Listening sockets: made here, before anything else is started that would need them."""

from __future__ import annotations

import os
import socket

BACKLOG = 1024
LAST_PORT = 65535


class CannotListenError(Exception):
    """The address cannot be bound; the message says what to change."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(
            f"Cannot listen on {host} port {port}: {reason}. "
            "Choose another port with --port, or another address with --host."
        )


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket; port 0 takes any free one."""
    if not 0 <= port <= LAST_PORT:
        raise CannotListenError(host, port, "there is no such port")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except socket.gaierror as exc:
        raise CannotListenError(host, port, exc.strerror or str(exc)) from exc
    except OSError as exc:
        # Its own text repeats the address.
        raise CannotListenError(host, port, os.strerror(exc.errno or 0)) from exc


def free_port() -> int:
    """A loopback port that is free right now, for a child that binds it itself."""
    with listen("127.0.0.1", 0) as probe:
        return int(probe.getsockname()[1])
