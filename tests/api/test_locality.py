"""Who counts as this machine."""

from __future__ import annotations

import pytest

from apps.api.locality import is_local

HERE = {"host": "127.0.0.1:5969"}


@pytest.mark.parametrize("client", ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"])
def test_loopback_peers_are_local(client: str) -> None:
    assert is_local(client, HERE)


@pytest.mark.parametrize("client", [None, "", "10.0.0.1", "::ffff:10.0.0.1", "fe80::1", "nonsense"])
def test_other_peers_are_not(client: str | None) -> None:
    assert not is_local(client, HERE)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:5969", "LocalHost:1", "127.0.0.1", "[::1]", "[::1]:5969"]
)
def test_names_of_this_machine_are_local(host: str) -> None:
    assert is_local("127.0.0.1", {"host": host})


@pytest.mark.parametrize(
    "host",
    [
        "",
        "example.org",
        "localhost.example.org",
        "127.0.0.1.example.org:80",
        "10.0.0.1",
        "::1",
        "localhost:80:80",
        "localhost,localhost",
        "user@localhost",
    ],
)
def test_other_names_are_not(host: str) -> None:
    assert not is_local("127.0.0.1", {"host": host})


def test_without_a_host_nothing_is_local() -> None:
    assert not is_local("127.0.0.1", {})


@pytest.mark.parametrize(
    "header", ["forwarded", "x-forwarded-for", "x-forwarded-proto", "x-real-ip", "via"]
)
def test_what_came_through_a_proxy_is_not_local(header: str) -> None:
    assert not is_local("127.0.0.1", HERE | {header: ""})


@pytest.mark.parametrize("origin", ["http://127.0.0.1:5969", "HTTP://127.0.0.1:5969"])
def test_the_gateways_own_pages_are_local(origin: str) -> None:
    assert is_local("127.0.0.1", HERE | {"origin": origin})


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "https://example.org",
        "http://localhost:5969",
        "http://127.0.0.1:3000",
        "http://127.0.0.1",
        "file://127.0.0.1:5969",
        "http://[",
    ],
)
def test_pages_of_other_servers_are_not(origin: str) -> None:
    assert not is_local("127.0.0.1", HERE | {"origin": origin})
