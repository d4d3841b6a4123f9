"""Fetches one resource of the web for a client: guarded, limited in time and in size.

The guard judges the URL, then each address at the moment of connecting, and both again after every
redirect. What the bytes mean is for the caller to find out.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from apps.tools.urlguard import Refused, URLGuard

MAX_REDIRECTS = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})
AGENT = "responses-gateway"


class DownloadError(Exception):
    """The resource could not be had; the message is written for clients."""


class TooLarge(DownloadError):
    """It is larger than the caller admits."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What came, from the last of the redirects. ``media_type`` is what the server claims, in
    lower case, without parameters; ``charset`` is one of them."""

    url: str
    media_type: str
    charset: str | None
    data: bytes


async def download(
    url: str, *, guard: URLGuard, largest: int, time_limit: float, accept: str = "*/*"
) -> Downloaded:
    """Raises Refused when the guard forbids it, DownloadError when it fails."""
    headers = {"accept": accept, "accept-encoding": "identity", "user-agent": AGENT}
    try:
        async with asyncio.timeout(time_limit), _session(guard, headers) as session:
            return await _follow(session, guard, guard.parse(url), largest)
    except TimeoutError as exc:
        raise DownloadError(f"It took longer than {time_limit:g} seconds.") from exc
    except aiohttp.ClientConnectorDNSError as exc:
        _raise_refusal(exc)
        raise DownloadError("Its host is not known.") from exc
    except (aiohttp.ClientError, OSError) as exc:
        _raise_refusal(exc)
        raise DownloadError("Its server cannot be reached, or broke off.") from exc


def _raise_refusal(exc: BaseException) -> None:
    """The HTTP client wraps what the guard says while connecting."""
    cause = getattr(exc, "os_error", exc)
    if isinstance(cause, Refused):
        raise cause


async def _follow(
    session: aiohttp.ClientSession, guard: URLGuard, url: URL, largest: int
) -> Downloaded:
    for _ in range(MAX_REDIRECTS + 1):
        async with session.get(url, allow_redirects=False) as response:
            if response.status == 200:
                return await _read(response, largest)
            if response.status not in REDIRECTS:
                raise DownloadError(f"Its server answered with status {response.status}.")
            url = guard.parse(str(_target(url, response.headers.get("location", ""))))
    raise DownloadError(f"It was redirected more than {MAX_REDIRECTS} times.")


def _target(url: URL, location: str) -> URL:
    try:
        return url.join(URL(location))
    except ValueError as exc:
        raise DownloadError("It was redirected to something that is no URL.") from exc


async def _read(response: aiohttp.ClientResponse, largest: int) -> Downloaded:
    pieces, size = [], response.content_length or 0
    if size <= largest:
        size = 0
        async for piece in response.content.iter_any():
            pieces.append(piece)
            size += len(piece)
            if size > largest:
                break
    if size > largest:
        raise TooLarge(f"It is larger than {largest} bytes.")
    return Downloaded(
        url=str(response.url),
        media_type=response.content_type.lower() if "content-type" in response.headers else "",
        charset=response.charset,
        data=b"".join(pieces),
    )


# --- Connecting -----------------------------------------------------------------------------------


class _GuardedResolver(AbstractResolver):
    """Gives the HTTP client only addresses that the guard permits."""

    def __init__(self, guard: URLGuard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in await self._guard.addresses(host, port)
        ]

    async def close(self) -> None:
        """There is nothing to close."""


@asynccontextmanager
async def _session(
    guard: URLGuard, headers: dict[str, str]
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client for one download: no cookies, no proxies, no decompression.

    Addresses in URLs never reach a resolver: the last check is where the socket is made.
    """

    def guarded_socket(info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        guard.check_address(str(address[0]))
        return socket.socket(family, kind, protocol)

    connector = aiohttp.TCPConnector(
        resolver=_GuardedResolver(guard),
        socket_factory=guarded_socket,
        use_dns_cache=False,
        force_close=True,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
    ) as session:
        yield session
