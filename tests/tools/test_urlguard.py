"""Which URLs and addresses may be reached on behalf of clients."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address

import pytest

from apps.tools.urlguard import Refused, URLGuard, is_permitted

PUBLIC = [
    "93.184.216.34",
    "8.8.8.8",
    "2606:2800:220:1::1",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
]

PRIVATE = [
    "127.0.0.1",
    "127.8.8.8",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.255",
    "::1",
    "fd12:3456::1",
    "fc00::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
    "2002:c0a8:101::1",
]

NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "169.254.169.254",
    "169.254.1.1",
    "168.63.129.16",
    "100.100.100.200",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "224.0.0.1",
    "239.255.255.250",
    "ff02::1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "203.0.113.1",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "64:ff9b:1::a00:1",
    "::7f00:1",
    "::8.8.8.8",
    "2001:0:1::1",
    "2001:db8::1",
    "2001:20::1",
    "3fff::1",
    "100::1",
    "192.88.99.1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_open(address: str) -> None:
    assert is_permitted(ip_address(address))


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_closed_unless_opened(address: str) -> None:
    assert not is_permitted(ip_address(address))
    assert is_permitted(ip_address(address), allow_private=True)


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_never_open(address: str) -> None:
    assert not is_permitted(ip_address(address))
    assert not is_permitted(ip_address(address), allow_private=True)


def test_neighbours_of_private_networks_are_public() -> None:
    for address in ("172.15.255.255", "172.32.0.1", "100.63.255.255", "100.128.0.1", "11.0.0.1"):
        assert is_permitted(ip_address(address)), address


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.png",
        "https://example.org:8443/",
        "HTTP://EXAMPLE.ORG",
        "http://[2606:2800:220:1::1]:8080/x?y#z",
    ],
)
def test_web_urls_pass(url: str) -> None:
    assert URLGuard().parse(url).host


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.org/", "Only http"),
        ("file:///etc/passwd", "Only http"),
        ("gopher://example.org/", "Only http"),
        ("//example.org/", "Only http"),
        ("example.org", "Only http"),
        ("http://", "no host"),
        ("http:///path", "no host"),
        ("http://user@example.org/", "user name"),
        ("http://user:secret@example.org/", "user name"),
        ("http://:secret@example.org/", "user name"),
        ("http://example.org:22/", "Port 22"),
        ("http://example.org:6379/", "Port 6379"),
        ("http://example.org:5432/", "Port 5432"),
        ("http://example.org:0/", "Port"),
        ("http://example.org:99999/", "valid URL"),
        ("http://[::1", "valid URL"),
    ],
)
def test_other_urls_are_refused(url: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        URLGuard().parse(url)


def test_only_permitted_addresses_of_a_name_are_given() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["10.0.0.1", "93.184.216.34", "::1"]

    guard = URLGuard(resolve=resolve)
    assert asyncio.run(guard.addresses("mixed.test", 80)) == ["93.184.216.34"]


def test_a_name_without_a_permitted_address_is_refused() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return ["10.0.0.1", "fd00::1"]

    with pytest.raises(Refused, match="public"):
        asyncio.run(URLGuard(resolve=resolve).addresses("inside.test", 80))


def test_the_systems_resolver_knows_this_machine() -> None:
    with pytest.raises(Refused):
        asyncio.run(URLGuard().addresses("localhost", 80))
    opened = URLGuard(allow_private=True)
    assert "127.0.0.1" in asyncio.run(opened.addresses("localhost", 80))


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(Refused, match="malformed"):
        URLGuard().check_address("localhost")
