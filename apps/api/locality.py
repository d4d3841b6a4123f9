"""Whether a request comes from this machine, and from nobody else through it.

The anonymous mode of the API and the one-time login link rest on this. A proxy on this machine
that sets none of the usual headers cannot be told from a local client: behind a proxy, use keys.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from django.http import HttpRequest

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
PROXY_HEADERS = frozenset({"forwarded", "via", "x-real-ip"})


def is_local(client_host: str | None, headers: Mapping[str, str]) -> bool:
    """Header names are in lower case. ``client_host`` is the address of the connection's peer."""
    host = headers.get("host", "").lower()
    return (
        is_loopback(client_host)
        and _without_port(host) in LOCAL_HOSTS
        and not any(name in PROXY_HEADERS or name.startswith("x-forwarded-") for name in headers)
        and _same_origin(headers.get("origin"), host)
    )


def headers_of(request: HttpRequest) -> dict[str, str]:
    """A request's headers by their names in lower case."""
    return {name.lower(): value for name, value in request.headers.items()}


def is_loopback(address: str | None) -> bool:
    """An address such as 127.0.0.1 or ::1, also in its IPv6 form ::ffff:127.0.0.1."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host


def _same_origin(origin: str | None, host: str) -> bool:
    """Browsers send an origin: a page of another server, even a local one, is not the user."""
    return origin is None or origin.lower() in {f"http://{host}", f"https://{host}"}
