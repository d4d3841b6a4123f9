"""Real MCP servers that do what servers should not. ``python -m tests.tools.mcp.wicked JOURNAL`` is
one on standard input: no Django here."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import orjson
from mcp.server import MCPServer, Server
from mcp.server.mcpserver import Context
from mcp.types import (
    CallToolResult,
    ImageContent,
    ListToolsResult,
    PaginatedRequestParams,
    SamplingMessage,
    TextContent,
    Tool,
    ToolAnnotations,
)
from pydantic import BaseModel

from tests.programs import ROOT, eventually

HUGE = 100 * 1024 * 1024
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WIRE = os.dup(1)
"""Where a client on standard input reads: ``mcp`` lets nobody else write there."""


class Journal:
    """What the tools of a server did, wherever it runs."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, word: str) -> None:
        with self.path.open("a") as file:
            file.write(f"{word}\n")

    def count(self, word: str) -> int:
        return self.path.read_text().splitlines().count(word) if self.path.exists() else 0

    def __contains__(self, word: str) -> bool:
        return self.count(word) > 0

    async def until(self, word: str) -> None:
        await anyio.to_thread.run_sync(lambda: eventually(lambda: word in self, what=word))


class Answer(BaseModel):
    name: str


class Odd(MCPServer):
    """Lists one more tool, with a schema that is none."""

    async def list_tools(self) -> list[Tool]:
        schema = {"type": "object", "properties": {"a": {"type": "text"}}}
        return [*await super().list_tools(), Tool(name="odd", input_schema=schema)]


def wicked(journal: Journal) -> MCPServer:  # noqa: C901 - a list of tools
    server = Odd("wicked", version="6.6", log_level="CRITICAL")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def echo(text: str, times: int = 1) -> str:
        """Says it again."""
        return text * times

    @server.tool()
    def trace(ctx: Context) -> str:
        """Tells of which trace it is a part."""
        return str((ctx.request_context.meta or {}).get("traceparent"))

    @server.tool()
    async def hang() -> None:
        """Never answers."""
        journal.note("hang begins")
        try:
            await anyio.sleep_forever()
        finally:
            journal.note("hang ends")

    @server.tool()
    async def progress(ctx: Context) -> None:
        """Tells that it is under way, and never ends."""
        try:
            for step in range(3):
                await ctx.report_progress(step, 3)
            await anyio.sleep_forever()
        finally:
            journal.note("progress ends")

    @server.tool()
    def huge() -> str:
        """Answers with more than anybody reads."""
        return "x" * (HUGE // 3)

    @server.tool()
    def huge_backwards(ctx: Context) -> str:
        """Answers as much, in the order of other libraries: its own answer comes too late."""
        os.write(WIRE, b'{"result":{"content":[{"type":"text","text":"')
        for _ in range(HUGE // 3 // 10_000):
            os.write(WIRE, b"x" * 10_000)
        os.write(WIRE, b'"}]},"jsonrpc":"2.0","id":%s}\n' % str(ctx.request_id).encode())
        return "late"

    @server.tool()
    def roar() -> str:
        """Says more than anybody reads, and no message."""
        for _ in range(HUGE // 3 // 10_000):
            os.write(WIRE, b"x" * 10_000)
        os.write(WIRE, b"\n")
        return "roared"

    @server.tool()
    async def slow() -> str:
        """Answers after others have."""
        journal.note("slow begins")
        await anyio.sleep(3)
        return "at last"

    @server.tool()
    def long() -> str:
        """Answers at length."""
        return "x" * 5000

    @server.tool()
    async def flood(ctx: Context) -> str:
        """Says much before it answers."""
        for step in range(3000):
            await ctx.report_progress(step)
        return "done"

    @server.tool()
    async def sample(ctx: Context) -> str:
        """Wants the client's model."""
        message = SamplingMessage(role="user", content=TextContent(type="text", text="hi"))
        await ctx.session.create_message([message], max_tokens=10)
        return "sampled"

    @server.tool()
    async def elicit(ctx: Context) -> str:
        """Wants the user."""
        await ctx.elicit("Who are you?", Answer)
        return "elicited"

    @server.tool()
    async def grow(ctx: Context) -> str:
        """Gets another tool, and says so."""
        server.add_tool(lambda: "grown", name="grown", description="New.")
        await ctx.notify_tools_changed()
        await ctx.session.send_tool_list_changed()
        return "ok"

    @server.tool()
    def swap() -> str:
        """Changes a tool, and says nothing."""
        server.remove_tool("echo")

        @server.tool()
        def repeat(text: str) -> str:
            """Says it again, under another name."""
            return text

        return "ok"

    @server.tool()
    def mixed() -> list[TextContent | ImageContent]:
        """A text and a picture."""
        picture = ImageContent(type="image", data=PIXEL, mime_type="image/png")
        return [TextContent(type="text", text="one"), picture]

    @server.tool()
    def structured() -> CallToolResult:
        """Has nothing but structure."""
        return CallToolResult(content=[], structured_content={"n": [1, 2]})

    @server.tool()
    def fail() -> CallToolResult:
        """Fails."""
        return CallToolResult(content=[TextContent(type="text", text="no luck")], is_error=True)

    @server.tool()
    def babble() -> str:
        """Prints to where only messages belong."""
        os.write(WIRE, b"this is no JSON\n{}\n\xff\xfe\n")
        return "said"

    @server.tool()
    async def garble(ctx: Context) -> None:
        """Answers with what is no JSON."""
        os.write(WIRE, b'{"jsonrpc":"2.0","id":%s,"result":hello\n' % str(ctx.request_id).encode())
        await anyio.sleep_forever()

    @server.tool()
    async def misshape(ctx: Context) -> None:
        """Answers with a result that is none."""
        answer = b'{"jsonrpc":"2.0","id":%s,"result":{"content":"hello"}}\n'
        os.write(WIRE, answer % str(ctx.request_id).encode())
        await anyio.sleep_forever()

    @server.tool()
    def die() -> str:
        """Ends its process in the middle of a call."""
        os._exit(3)

    @server.tool()
    async def stay() -> str:
        """Will not end, whoever tells it to."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        threading.Thread(target=time.sleep, args=(600,)).start()
        return str(os.getpid())

    @server.tool()
    def environment() -> str:
        """The names of all variables of this program's environment."""
        sys.stderr.write("looking around\n")
        sys.stderr.flush()
        return " ".join(sorted(os.environ))

    @server.tool()
    def process() -> str:
        """The number of its process."""
        return str(os.getpid())

    return server


def program(journal: Journal) -> dict[str, Any]:
    """The fields of a spec that runs it."""
    args = ("-m", "tests.tools.mcp.wicked", str(journal.path))
    return {
        "transport": "stdio",
        "command": sys.executable,
        "args": args,
        "cwd": str(ROOT),
    }


def listing(
    pages: Sequence[Sequence[Tool]],
    *,
    endless: bool = False,
    last_cursor: str | None = None,
    pause: float = 0,
) -> Server[Any]:
    """A server that lists these pages; ``endless``, the last one again and again. It takes
    ``pause`` seconds for each."""

    async def list_tools(ctx: Any, params: PaginatedRequestParams | None) -> ListToolsResult:
        await anyio.sleep(pause)
        at = int(params.cursor) if params and params.cursor else 0
        is_last = at == len(pages) - 1
        following = last_cursor if is_last and not endless else str(min(at + 1, len(pages) - 1))
        return ListToolsResult(tools=list(pages[at]), next_cursor=following)

    async def call_tool(ctx: Any, params: Any) -> CallToolResult:
        return CallToolResult(content=[TextContent(type="text", text=params.name)])

    return Server("listing", on_list_tools=list_tools, on_call_tool=call_tool)


Spoil = Callable[[Any], Awaitable[None]]


class Spoiled:
    """An MCP server on HTTP whose answers to some calls are spoiled on their way: ``spoils`` has
    a way for a tool's name, or for a method's."""

    def __init__(self, app: Any, spoils: dict[str, Spoil]) -> None:
        self._app, self.spoils = app, spoils
        self.asked: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        message = orjson.loads(body)
        params = message.get("params") or {}
        method = str(message.get("method"))
        asked = str(params.get("name")) if method == "tools/call" else method
        self.asked.append(asked)
        if (spoil := self.spoils.get(asked)) is not None:
            await spoil(send)
            return
        await self._app(scope, _again(body, receive), send)


class SpoiledStream:
    """An MCP server on SSE: in place of its answers to some calls, these bytes come in the stream;
    none end it."""

    def __init__(self, app: Any, spoils: dict[str, bytes]) -> None:
        self._app, self._spoils = app, spoils
        self._stream: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            self._stream = send
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        name = str((orjson.loads(body).get("params") or {}).get("name"))
        if (spoil := self._spoils.get(name)) is not None:
            more = bool(spoil)
            await self._stream({"type": "http.response.body", "body": spoil, "more_body": more})
            await answering(202, b"Accepted", "text/plain")(send)
            return
        await self._app(scope, _again(body, receive), send)


def _again(body: bytes, receive: Any) -> Any:
    """Gives a body that was read, and then what else comes."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Any:
        return left.pop() if left else await receive()

    return replay


async def _body(receive: Any) -> bytes:
    pieces: list[bytes] = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(pieces)


def answering(
    status: int, body: bytes, content_type: str = "application/json", *, encoding: str = "identity"
) -> Spoil:
    """Answers so."""

    async def spoil(send: Any) -> None:
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-encoding", encoding.encode()),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return spoil


async def pour(send: Any) -> None:
    """Answers with a hundred megabytes."""
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(100):
        piece = b"[" * (HUGE // 100)
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def drop(send: Any) -> None:
    """Begins an answer, and ends the connection in the middle of it."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"jsonrpc":', "more_body": True})
    raise ConnectionResetError


async def reset(send: Any) -> None:
    """Ends the connection before an answer has begun."""
    send.__self__.transport.abort()


async def silence(send: Any) -> None:
    """Never begins an answer."""
    await anyio.sleep_forever()


if __name__ == "__main__":
    wicked(Journal(Path(sys.argv[1]))).run(transport="stdio")
