"""Asks a server once: does it answer, how fast, and which tools has it.

What went wrong is told in our own words. A server's words and bytes may come from anywhere inside
the operator's network, and are shown to nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from mcp import Client
from mcp.client.auth import OAuthFlowError
from mcp.shared.exceptions import MCPError

from apps.store import mcp_servers
from apps.store.mcp_servers import ListedTool, ServerSpec
from apps.store.models.mcp_server import STDIO
from apps.tools.mcp.connection import McpFailure, all_tools
from apps.tools.mcp.headers import HeaderUnusable
from apps.tools.mcp.program import program_transport
from apps.tools.mcp.transports import TOO_MUCH, http_transport, operator_client
from apps.tools.urlguard import Refused

AT_ONCE = 8
LEAVING = 5.0
"""Seconds for saying goodbye."""
HINTS = {
    401: " Its credentials are missing or wrong.",
    403: " Its credentials do not suffice.",
    404: " Check the path of the URL.",
    405: " Check the path of the URL and the transport.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What came of asking. ``error`` is empty when all went well, and written for operators."""

    latency_ms: int
    error: str = ""
    tools: tuple[ListedTool, ...] = ()
    server_name: str = ""
    server_version: str = ""

    def keep(self, server_id: int, *, tools: bool) -> bool:
        """Write it down, the tools too if so wished. True when the tools have changed."""
        if self.error:
            mcp_servers.record_failure(server_id, self.error)
            return False
        mcp_servers.record_success(
            server_id,
            latency_ms=self.latency_ms,
            server_name=self.server_name,
            server_version=self.server_version,
        )
        return mcp_servers.save_tools(server_id, self.tools) if tools else False


async def probe_all(specs: Sequence[ServerSpec]) -> list[Probe]:
    """Each of them, several at a time."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(spec: ServerSpec) -> Probe:
        async with slots:
            return await probe(spec)

    return await asyncio.gather(*map(one, specs))


async def probe(spec: ServerSpec) -> Probe:
    """Connects, initialises and lists the tools, all within ``connect_timeout``. Raises nothing."""
    started = time.monotonic()
    statuses: list[int] = []
    found: Probe | None = None
    try:
        # A server that does not let go is left.
        async with asyncio.timeout(spec.connect_timeout + LEAVING), AsyncExitStack() as stack:
            async with asyncio.timeout(spec.connect_timeout):
                client = await stack.enter_async_context(_client(spec, statuses))
                tools = await all_tools(
                    lambda cursor: client.list_tools(cursor=cursor, cache_mode="refresh")
                )
            name = client.server_info
            found = Probe(
                latency_ms=_milliseconds(started),
                tools=tuple(tools),
                server_name=name.name if name else "",
                server_version=name.version if name else "",
            )
    except Exception as exc:
        error = _explain(exc, spec, statuses)
        return found or Probe(latency_ms=_milliseconds(started), error=error)
    return found


def _milliseconds(since: float) -> int:
    return round((time.monotonic() - since) * 1000)


@asynccontextmanager
async def _client(spec: ServerSpec, statuses: list[int]) -> AsyncIterator[Client]:
    """``statuses`` collects those of answers that say that something is wrong."""
    if spec.transport == STDIO:
        transport: Any = program_transport(spec)
    else:

        async def note(response: httpx2.Response) -> None:
            if response.status_code >= 400:
                statuses.append(response.status_code)

        http = operator_client(spec)
        http.event_hooks = {"response": [note]}
        transport = http_transport(spec, http)
    async with Client(transport, read_timeout_seconds=spec.connect_timeout) as client:
        yield client


# --- What went wrong ------------------------------------------------------------------------------


def _explain(exc: Exception, spec: ServerSpec, statuses: Sequence[int]) -> str:
    found = list(_causes(exc))
    for cause in found:
        if isinstance(cause, HeaderUnusable | McpFailure):
            return str(cause)
    for kind, text in (
        (Refused, "Its address may not be reached: link-local, or where clouds keep secrets."),
        (OAuthFlowError, "Getting a token with the OAuth client credentials failed."),
        (FileNotFoundError, f"There is no program {spec.command!r}, or no such folder."),
        (PermissionError, f"The program {spec.command!r} may not be run."),
    ):
        if any(isinstance(cause, kind) for cause in found):
            return text
    if any(TOO_MUCH in str(cause) for cause in found):  # mcp makes its own exceptions of it
        return "Its answer is larger than anything that makes sense."
    if statuses:
        return f"It answered with HTTP {statuses[-1]}.{HINTS.get(statuses[-1], '')}"
    return _explain_connection(found, spec)


def _explain_connection(found: Sequence[BaseException], spec: ServerSpec) -> str:
    words = " ".join(map(str, found)).lower()
    if "certificate" in words:
        return "Its TLS certificate is not trusted."
    if any(isinstance(cause, TimeoutError | httpx2.TimeoutException) for cause in found):
        return f"It did not answer within {spec.connect_timeout:g} s."
    if any(isinstance(cause, httpx2.ConnectError | OSError) for cause in found):
        unknown = any(word in words for word in ("name or service", "getaddrinfo", "no address"))
        return "Its name is not known." if unknown else "Nothing answers there."
    for cause in found:
        if isinstance(cause, MCPError):
            if spec.transport == STDIO:
                return "The program ended, or does not speak MCP."
            return f"It answered with an MCP error (code {cause.error.code})."
    return f"It does not speak MCP as expected ({type(found[-1]).__name__})."


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """The exception, what is inside it and what is behind it, each once."""
    waiting, seen = [exc], set[int]()
    while waiting:
        cause = waiting.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        inner = cause.exceptions if isinstance(cause, BaseExceptionGroup) else ()
        waiting += filter(None, (*inner, cause.__cause__, cause.__context__))
