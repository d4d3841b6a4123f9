"""What a connection leads to: an operator's server, or one that a request brought."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import httpx2

from apps.store.mcp_servers import ServerSpec
from apps.store.models.mcp_server import ALWAYS, SSE, STDIO, STREAMABLE_HTTP
from apps.tools.base import ToolRefused
from apps.tools.conf import conf
from apps.tools.mcp.addresses import operator_guard
from apps.tools.mcp.headers import OF_THE_CONNECTION, HeaderUnusable, check
from apps.tools.mcp.http_failures import FailsAlone
from apps.tools.mcp.transports import http_client, http_transport
from apps.tools.urlguard import Refused, URLGuard

LONGEST_URL = 2048


@dataclass(frozen=True, slots=True)
class Target:
    """A server. ``is_configured`` ones are an operator's; the others' secrets are kept nowhere. Who
    has the same ``scope`` shares a session with it."""

    spec: ServerSpec
    is_configured: bool = True
    scope: str = ""

    @property
    def identity(self) -> str:
        """Names the server for approvals."""
        if self.is_configured:
            return f"server:{self.spec.id}"
        return "url:" + hashlib.sha256(self.spec.url.encode()).hexdigest()[:16]

    @property
    def key(self) -> Hashable:
        """Who has the same one may share a connection."""
        return self.spec.id, self.spec.version, self.scope

    @property
    def is_local(self) -> bool:
        """Whether the server is a process on this machine, which the tool host owns."""
        return self.spec.transport == STDIO

    def transport(self, on_gap: Callable[[], None]) -> AbstractAsyncContextManager[Any]:
        """The way to an HTTP server. Operators may name servers of their own networks; requests
        may not, unless the operator lets them. ``on_gap`` as in ``http_client``."""
        guard = operator_guard() if self.is_configured else declared_guard()
        # Of SSE, answers come another way: one that does not is noticed by its time.
        kind = httpx2.AsyncClient if self.spec.transport == SSE else FailsAlone
        return http_transport(self.spec, http_client(self.spec, guard, kind, on_gap))


def declared_guard() -> URLGuard:
    """Judges the servers that requests bring."""
    return URLGuard(allow_private=conf.MCP_ALLOW_PRIVATE_NETWORKS)


def declared(
    label: str, url: str, *, headers: Mapping[str, str] | None, authorization: str | None
) -> Target:
    """A server that a request brings. Raises ToolRefused."""
    try:
        parsed = declared_guard().parse(url[: LONGEST_URL + 1])
    except Refused as exc:
        raise ToolRefused(f"The server's URL cannot be used. {exc}", param="server_url") from exc
    if parsed.scheme != "https" and not conf.MCP_ALLOW_PRIVATE_NETWORKS:
        raise ToolRefused("The server's URL must be an https URL.", param="server_url")
    hosts = conf.MCP_ALLOWED_HOSTS
    if hosts and parsed.host not in hosts:
        raise ToolRefused("The server's host is not allowed on this gateway.", param="server_url")
    sent = dict(headers or {})
    if ours := OF_THE_CONNECTION.intersection(map(str.lower, sent)):
        raise ToolRefused(f"The header '{min(ours)}' cannot be set.", param="headers")
    token = (authorization or "").removeprefix("Bearer ")
    for param, given in (("headers", sent), ("authorization", {"Authorization": token})):
        try:
            check(given)
        except HeaderUnusable as exc:
            raise ToolRefused(str(exc), param=param) from exc
    spec = ServerSpec(
        id=0,
        label=label,
        version=0,
        description="",
        enabled=True,
        transport=STREAMABLE_HTTP,
        url=str(parsed),
        headers=sent,
        bearer_token=token,
        connect_timeout=10.0,
        call_timeout=120.0,
        result_limit=100_000,
        concurrency=4,
        session_scope="",
        allowed_tools=None,
        read_only=False,
        trusted=False,
        approval=ALWAYS,
        switches={},
    )
    return Target(spec, is_configured=False)
