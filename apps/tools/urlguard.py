"""Which URLs and addresses the gateway may reach on behalf of clients.

Clients name URLs, the gateway stands inside the network: without this, anybody who may ask a model
may read whatever the gateway can reach. The policy is pure; ``URLGuard`` adds the one lookup that
it needs. Whoever connects uses the very addresses that were judged, never the name again.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

from yarl import URL

Address: TypeAlias = IPv4Address | IPv6Address
Resolve: TypeAlias = Callable[[str, int], Awaitable[list[str]]]
"""Gives the addresses of a name. Raises OSError."""

METADATA = frozenset(
    map(ip_address, ("169.254.169.254", "168.63.129.16", "100.100.100.200", "fd00:ec2::254"))
)
"""Where clouds tell a machine its own secrets. Some of them look public."""

PRIVATE = tuple(
    map(
        ip_network,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "::1/128",
            "fc00::/7",
        ),
    )
)
"""Networks that people run, and this machine itself; not all that is reserved."""

NAT64 = IPv6Network("64:ff9b::/96")
SIX_TO_FOUR = IPv6Network("2002::/16")
SPECIAL = tuple(
    map(
        ip_network,
        (
            "192.0.0.0/24",  # for protocols; some clouds have their metadata here
            "192.88.99.0/24",  # relays of 6to4
            "::/96",  # IPv4 in its oldest disguise
            "64:ff9b:1::/48",  # NAT64 of the local network
            "2001::/23",  # for protocols; Teredo, which hides IPv4, among them
            "3fff::/20",  # documentation
            "5f00::/16",  # segment routing
        ),
    )
)
"""What Python's tables, which differ with its version, may call global."""

BARRED_PORTS = frozenset({
    7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 79, 87, 95, 101, 102, 103,
    104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 138, 139, 143, 161, 162, 179, 389, 427,
    445, 465, 512, 513, 514, 515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 873,
    989, 990, 993, 995, 1433, 1521, 1719, 1720, 1723, 2049, 2375, 3306, 3389, 3659, 4045, 4190,
    5060, 5061, 5432, 5672, 5900, 6000, 6379, 6566, 6665, 6666, 6667, 6668, 6669, 6697, 10080,
    11211, 27017,
})  # fmt: skip
"""Ports of other protocols, whose servers may take an HTTP request for something else."""


class Refused(OSError):
    """The guard forbids this URL or address. The message is written for clients. An OSError, so
    that HTTP clients treat it as a connection that failed."""


def is_permitted(address: Address, *, allow_private: bool = False) -> bool:
    """Whether the gateway may connect to this address.

    ``allow_private`` opens loopback and private networks; what belongs to one link only, to many
    or to nobody, and the metadata of clouds, stays closed.
    """
    if isinstance(address, IPv6Address):
        if (embedded := _embedded(address)) is not None:
            return is_permitted(embedded, allow_private=allow_private)
        if address.is_site_local:
            return False
    if address in METADATA or address.is_link_local or address.is_multicast:
        return False
    if any(address in network for network in PRIVATE):
        return allow_private
    if any(address in network for network in SPECIAL):
        return False
    return address.is_global and not address.is_reserved


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a packet to this one ends up at."""
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address in SIX_TO_FOUR:
        return IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    return None


@lru_cache(maxsize=1)
def _lookups() -> ThreadPoolExecutor:
    """Threads for the names of strangers, which may take long: others are looked up elsewhere."""
    return ThreadPoolExecutor(8, thread_name_prefix="resolve")


async def system_resolve(host: str, port: int) -> list[str]:
    """What the system's resolver says."""
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(
        _lookups(), lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    )
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class URLGuard:
    """Judges URLs before and addresses while connecting. ``resolve`` is the tests' to replace."""

    def __init__(self, *, allow_private: bool = False, resolve: Resolve = system_resolve) -> None:
        self._allow_private = allow_private
        self._resolve = resolve

    def parse(self, url: str) -> URL:
        """The URL, if it may be asked at all; its host is judged when connecting. Raises Refused.

        Use its result: another parser may find another host in the same text.
        """
        try:
            parsed = URL(url)
            port = parsed.port
        except ValueError as exc:
            raise Refused("It is not a valid URL.") from exc
        if parsed.scheme not in ("http", "https"):
            raise Refused("Only http and https URLs are fetched.")
        if not parsed.host:
            raise Refused("It names no host.")
        if parsed.user is not None or parsed.password is not None:
            raise Refused("URLs with a user name or password are not fetched.")
        if port is None or not 0 < port < 65536 or port in BARRED_PORTS:
            raise Refused(f"Port {port} is not one of a web server.")
        return parsed

    def check_address(self, address: str) -> None:
        """Raises Refused for an address that must not be connected to."""
        try:
            parsed = ip_address(address)
        except ValueError as exc:
            raise Refused("Its address is malformed.") from exc
        if not is_permitted(parsed, allow_private=self._allow_private):
            raise Refused("Its address is not a public one.")

    async def addresses(self, host: str, port: int) -> list[str]:
        """The addresses of a name that may be connected to. Raises Refused when there is none and
        OSError when the name is not known."""
        permitted = []
        for address in await self._resolve(host, port):
            try:
                self.check_address(address)
            except Refused:
                continue
            permitted.append(address)
        if not permitted:
            raise Refused("Its address is not a public one.")
        return permitted
