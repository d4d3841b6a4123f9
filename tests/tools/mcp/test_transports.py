"""What is sent to MCP servers over HTTP, and what of their answers is read."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from apps.tools.mcp.transports import MOST_BYTES, operator_client
from tests.tools.mcp.servers import OnHttp
from tests.tools.mcp.specs import specify


def packing(content_type: str, encoding: str) -> Any:
    """An application whose answers are small on the wire, and larger than anybody reads behind it."""
    packed = gzip.compress(bytes(3 * MOST_BYTES))
    headers = [(b"content-type", content_type.encode()), (b"content-encoding", encoding.encode())]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": packed})

    return app


@asynccontextmanager
async def asking(server: OnHttp, **fields: Any) -> AsyncIterator[httpx2.Response]:
    spec = specify(url=server.url(), **fields)
    async with operator_client(spec) as client, client.stream("POST", spec.url) as response:
        yield response


JSON, STREAM = "application/json", "text/event-stream"


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        (JSON, "gzip"),
        (STREAM, "gzip"),
        (JSON, "GZip"),
        (JSON, "identity, gzip"),
        (JSON, ", ".join(["gzip"] * 20)),
    ],
)
def test_packed_answers_are_not_unpacked(content_type: str, encoding: str) -> None:
    async def scenario() -> None:
        async with asking(server) as response:
            with pytest.raises(httpx2.StreamError):
                await anext(response.aiter_bytes())

    with OnHttp(packing(content_type, encoding)) as server:
        asyncio.run(scenario())


def test_servers_are_asked_not_to_pack_whatever_the_headers_say() -> None:
    async def scenario() -> None:
        async with asking(server, headers={"Accept-Encoding": "gzip"}):
            pass

    with OnHttp(packing("application/json", "gzip")) as server:
        asyncio.run(scenario())
        assert [headers["accept-encoding"] for headers in server.headers] == ["identity"]
