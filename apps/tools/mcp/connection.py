"""One connection to a server: a task of its own keeps it, everybody calls through it.

``mcp`` ties a connection to the task that opened it; requests come and go in others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import Any, Protocol

import httpx2
import mcp_types as types
import structlog
from mcp import Client
from mcp.client.auth import OAuthFlowError
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS as LISTENING

from apps.store.mcp_servers import ListedTool
from apps.tools.base import FailureKind
from apps.tools.mcp.headers import HeaderUnusable
from apps.tools.mcp.http_failures import AWAY, BROKE, NOT_SENT, explained

log = structlog.stdlib.get_logger(__name__)

MOST_PAGES = 100
MOST_TOOLS = 2000
LARGEST_LIST = 8 * 1024 * 1024
"""Characters, in all pages together."""
LISTENED = 2.0
"""Seconds that a server gets to confirm a subscription, before its tools are listed without."""
LEAVING = 3.0
"""Seconds for saying goodbye."""

OnProgress = Callable[[], None]
Transport = Callable[["ClientConnection"], AbstractAsyncContextManager[Any]]


class McpFailure(Exception):
    """A server did not do what it should. The message is for people and the model: it holds no
    body and no secret. ``reached`` tells whether the server had the request."""

    def __init__(
        self,
        message: str,
        *,
        kind: FailureKind = "unavailable",
        code: int | None = None,
        reached: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind, self.code, self.reached = kind, code, reached


class Busy(McpFailure):
    """There is no room for another one at the moment, which says nothing against the server."""


class Connection(Protocol):
    """A way to a server."""

    stale: bool
    """The server's tools have changed since they were listed."""

    @property
    def is_open(self) -> bool: ...

    async def list_tools(self) -> list[ListedTool]:
        """All pages. Raises McpFailure."""

    async def call(
        self, tool: str, arguments: Mapping[str, Any], *, time_limit: float, on_progress: OnProgress
    ) -> types.CallToolResult:
        """Raises McpFailure. Cancelling tells the server."""

    async def retire(self) -> None:
        """Close it once the requests under way have ended."""

    async def close(self) -> None:
        """Now."""


class ClientConnection:
    """A connection of ``mcp``'s client. ``transport`` makes what the task that keeps it enters; it
    may call ``lose`` and ``suspect``. ``label`` is for the log. ``watches`` asks the server to tell
    of changed tools. ``changes`` is another number after each time that they may have changed, and
    for each connection."""

    def __init__(
        self, transport: Transport, *, label: str, connect_timeout: float, watches: bool = True
    ) -> None:
        self._log = log.bind(server=label)
        self.stale = False
        self.changes = time.monotonic_ns()
        self.server_name = self.server_version = ""
        self._transport, self._connect_timeout = transport, connect_timeout
        self._watches = watches
        self._watching: asyncio.Task[None] | None = None
        self._asking, self._retired = 0, False
        self._client: Client | None = None
        self._closing = asyncio.Event()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owner: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        return self._client is not None and not self._closing.is_set() and not self._retired

    def lose(self) -> None:
        """Nothing comes from the server any more."""
        self._closing.set()

    def suspect(self) -> None:
        """The tools may have changed."""
        self.changes += 1
        self.stale = True

    async def open(self) -> None:
        """Connect and shake hands. Raises McpFailure."""
        self._owner = asyncio.create_task(self._own())
        try:
            async with asyncio.timeout(self._connect_timeout):
                await asyncio.shield(self._ready)
        except TimeoutError:
            await self.close()
            raise McpFailure("The server did not answer in time.") from None
        except McpFailure:
            await self.close()
            raise
        except asyncio.CancelledError:
            self._owner.cancel()
            raise

    async def _own(self) -> None:
        try:
            client = Client(
                self._transport(self),
                message_handler=self._on_message,
                cache=None,
                client_info=types.Implementation(name="responses-gateway", version="1"),
            )
            async with client:
                if (info := client.server_info) is not None:
                    self.server_name, self.server_version = info.name, info.version
                self._client = client
                self._ready.set_result(None)
                await self._closing.wait()
                await self._stop_watching()
        except Exception as exc:
            self._fail(exc)
        except BaseExceptionGroup as group:
            self._fail(group)
            if group.subgroup(asyncio.CancelledError) is not None:
                raise
        finally:
            self._client = None
            self._closing.set()
            self._refuse(McpFailure("The connection was given up."))
            if not self._broken.done():
                self._broken.set_result(None)

    def _fail(self, exc: BaseException) -> None:
        failure = translated(exc)
        self._log.info("MCP connection ended", reason=str(failure))
        self._refuse(failure)

    def _refuse(self, failure: McpFailure) -> None:
        """Tell who waits for the connection, if it is not open yet and anybody still waits."""
        if not self._ready.done():
            self._ready.set_exception(failure)
            self._ready.exception()  # asyncio complains of those that nobody has looked at

    # --- Changes of the tools -----------------------------------------------------------------

    async def _on_message(self, message: Any) -> None:
        """Servers of older protocols tell everybody."""
        if isinstance(message, types.ToolListChangedNotification):
            self.suspect()

    async def _watch(self) -> None:
        """Those of newer ones tell whoever listens. Returns when the server has heard of us: a
        change of what is listed next will be told."""
        is_new = self._client is not None and self._client.protocol_version in LISTENING
        if self._watches and is_new and (self._watching is None or self._watching.done()):
            heard = asyncio.Event()
            self._watching = asyncio.create_task(self._listen(heard))
            with suppress(TimeoutError):
                async with asyncio.timeout(LISTENED):
                    await heard.wait()

    async def _listen(self, heard: asyncio.Event) -> None:
        """Until the server no longer tells: then the next request listens anew. Where it never
        promised to, the age of the list has to do."""
        promised = False
        try:
            assert self._client is not None
            async with self._client.listen(tools_list_changed=True) as changes:
                promised = bool(changes.honored.tools_list_changed)
                heard.set()
                async for _ in changes:
                    self.suspect()
        except (MCPError, SubscriptionLost, TimeoutError, httpx2.HTTPError, OSError) as exc:
            self._log.info("MCP server tells no changes", reason=type(exc).__name__)
        finally:
            heard.set()
            if promised:
                self.suspect()

    async def _stop_watching(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching}, timeout=LEAVING)

    # --- Requests -----------------------------------------------------------------------------

    async def list_tools(self) -> list[ListedTool]:
        self.stale = False
        await self._watch()
        limit = self._connect_timeout
        try:
            async with asyncio.timeout(limit):
                return await all_tools(
                    lambda cursor: self._ask(partial(Client.list_tools, cursor=cursor), limit)
                )
        except TimeoutError:
            raise _too_slow(limit) from None

    async def call(
        self, tool: str, arguments: Mapping[str, Any], *, time_limit: float, on_progress: OnProgress
    ) -> types.CallToolResult:
        async def progressed(
            progress: float, total: float | None = None, message: str | None = None
        ) -> None:
            on_progress()

        result: types.CallToolResult = await self._ask(
            lambda client: client.call_tool(tool, dict(arguments), progress_callback=progressed),
            time_limit,
        )
        return result

    async def _ask(self, request: Callable[[Client], Awaitable[Any]], time_limit: float) -> Any:
        """One request, which ends with the connection at the latest. Raises McpFailure."""
        client = self._client
        if client is None:
            raise McpFailure("The connection to the server is closed.")
        task = asyncio.ensure_future(request(client))
        self._asking += 1
        try:
            done, _ = await asyncio.wait(
                {task, self._broken}, timeout=time_limit, return_when=asyncio.FIRST_COMPLETED
            )
            if task in done:
                return task.result()
        except (asyncio.CancelledError, McpFailure):
            raise
        except Exception as exc:
            if is_end(exc):
                self._closing.set()
            elif isinstance(exc, MCPError) and exc.code == AWAY:
                self._retired = True  # others may still get their answers
            raise translated(exc, reached=True) from exc
        finally:
            self._asking -= 1
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=LEAVING)
            if self._retired and not self._asking:
                self._closing.set()
        if done:
            raise McpFailure("The connection to the server broke.", reached=True)
        raise _too_slow(time_limit)

    async def retire(self) -> None:
        self._retired = True
        if not self._asking:
            await self.close()

    async def close(self) -> None:
        self._closing.set()
        if self._owner is None or self._owner.done():
            return
        if self._client is not None:  # else it is not listening
            await asyncio.wait({self._owner}, timeout=LEAVING)
        if not self._owner.done():
            self._owner.cancel()
            await asyncio.wait({self._owner}, timeout=LEAVING)


async def all_tools(
    ask: Callable[[str | None], Awaitable[types.ListToolsResult]],
) -> list[ListedTool]:
    """Those of all pages; ``ask`` gets the one at a cursor. Raises McpFailure for a list that is
    longer than anything that makes sense, and what ``ask`` raises."""
    found: list[ListedTool] = []
    size = 0
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        page = await ask(cursor)
        size += len(page.model_dump_json(by_alias=True, exclude_none=True))
        if size > LARGEST_LIST:
            raise McpFailure("The server's list of tools is too large.", kind="protocol_error")
        found += map(listed, page.tools)
        cursor = page.next_cursor
        if len(found) > MOST_TOOLS:
            break
        if not cursor:
            return found
    raise McpFailure("The server's list of tools does not end.", kind="protocol_error")


def listed(tool: types.Tool) -> ListedTool:
    """A tool in the store's terms."""
    annotations = tool.annotations
    return ListedTool(
        name=tool.name,
        title=tool.title or "",
        description=tool.description or "",
        input_schema=tool.input_schema,
        output_schema=tool.output_schema,
        annotations=(
            annotations.model_dump(by_alias=True, exclude_none=True) if annotations else {}
        ),
    )


def _too_slow(limit: float) -> McpFailure:
    return McpFailure(f"The server did not answer within {limit:g} seconds.", reached=True)


def is_end(exc: BaseException) -> bool:
    """Whether the server knows nothing of the connection any more."""
    if not isinstance(exc, MCPError):
        return False
    is_closed = exc.code == types.CONNECTION_CLOSED and exc.message == "Connection closed"
    return is_closed or _is_unknown_session(exc)


def _is_unknown_session(exc: MCPError) -> bool:
    """The library's words for a session that the server has forgotten: it did nothing."""
    return exc.code == types.INVALID_REQUEST and exc.message == "Session terminated"


def translated(exc: BaseException, *, reached: bool = False) -> McpFailure:
    """The library's exceptions, in groups and out of them."""
    while isinstance(exc, BaseExceptionGroup):
        exc = exc.exceptions[0]
    match exc:
        case McpFailure():
            return exc
        case MCPError() if is_end(exc):
            return McpFailure(
                "The connection to the server broke.", reached=not _is_unknown_session(exc)
            )
        case MCPError() if exc.code in (AWAY, NOT_SENT, BROKE):
            return McpFailure(exc.message, reached=exc.code == BROKE)
        case MCPError() if exc.code == types.CONNECTION_CLOSED:
            return McpFailure("The server ended its answer too early.", reached=True)
        case MCPError() if exc.code == types.PARSE_ERROR:
            # The library's message has what the server sent.
            return McpFailure(
                "The server's answer is no valid message, or incomplete, or too large.",
                kind="protocol_error",
                code=exc.code,
                reached=True,
            )
        case MCPError():
            message = exc.message[:500] or "The server reported an error."
            return McpFailure(message, kind="protocol_error", code=exc.code, reached=True)
        case httpx2.HTTPStatusError():
            status = exc.response.status_code
            return McpFailure(
                f"The server answered with HTTP status {status}.", kind="http_error", code=status
            )
        case HeaderUnusable():
            return McpFailure(str(exc))
        case httpx2.StreamError() | httpx2.HTTPError() | OAuthFlowError() | OSError():
            return McpFailure(explained(exc), reached=reached)
        case _:
            return McpFailure(
                f"The server's answer cannot be understood ({type(exc).__name__}).",
                kind="protocol_error",
                reached=reached,
            )
