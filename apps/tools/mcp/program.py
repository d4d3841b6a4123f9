"""Runs a stdio MCP server for as long as it is asked something.

Its environment is what the operator listed and nothing else. It gets a process group of its own,
which ends with it, and it ends with us, however we end.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from mcp.shared.message import SessionMessage
from mcp.types import PARSE_ERROR, jsonrpc_message_adapter

from apps.store.mcp_servers import ServerSpec

LONGEST_LINE = 32 * 1024 * 1024
MOST_SKIPPED = 512 * 1024 * 1024
"""Bytes of a longer line that are waited for to pass."""
ENDS = 200
"""Bytes of such a line that are looked at, at its beginning and at its end."""
ID_FIRST = re.compile(rb'\s*\{\s*(?:"jsonrpc"\s*:\s*"2\.0"\s*,\s*)?"id"\s*:\s*(\d+|"[\w-]+")\s*,')
ID_LAST = re.compile(rb',\s*"id"\s*:\s*(\d+|"[\w-]+")\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*\Z')
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
GRACE = 2.0
"""Seconds that the program has to end once nobody speaks to it, and again when it is told to."""


@asynccontextmanager
async def program_transport(
    spec: ServerSpec, *, log: Path | None = None, on_end: Callable[[], None] = lambda: None
) -> AsyncIterator[Any]:
    """The streams of a connection, as ``mcp.Client`` takes them. What the program writes to its
    standard error is appended to ``log``; ``on_end`` is called when it says no more. Raises
    OSError when it cannot be started."""
    with log.open("ab") if log else contextlib.nullcontext() as errors:
        process = await asyncio.create_subprocess_exec(
            _path(spec),
            *spec.args,
            env=dict(spec.env),
            cwd=spec.cwd or None,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors or asyncio.subprocess.DEVNULL,
            limit=LONGEST_LINE,
            start_new_session=True,
            preexec_fn=_end_with_parent if sys.platform == "linux" else None,
        )
    into, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, from_client = anyio.create_memory_object_stream[SessionMessage](0)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_read, process, into, on_end)
            group.start_soon(_write, process, from_client)
            yield incoming, outgoing
            group.cancel_scope.cancel()
    finally:
        for stream in (into, incoming, outgoing, from_client):
            stream.close()
        with anyio.CancelScope(shield=True):
            await _end(process)


def _path(spec: ServerSpec) -> str:
    """Found in the program's own PATH; without one, in ours."""
    found = shutil.which(spec.command, path=spec.env.get("PATH") or os.environ.get("PATH"))
    if found is None:
        raise FileNotFoundError(f"There is no program {spec.command!r}.")
    return found


def _end_with_parent() -> None:
    """Asks Linux to kill this process, between fork and exec, when its parent is no more."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


async def _read(process: asyncio.subprocess.Process, into: Any, on_end: Callable[[], None]) -> None:
    assert process.stdout is not None
    async with into:
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            while line := await _line(process.stdout):
                await into.send(_message(line))
            on_end()


async def _line(stdout: asyncio.StreamReader) -> bytes:
    """Empty at the end. In place of a line that is longer than anything that makes sense comes the
    error of the call that it answers: of others, nothing is lost."""
    try:
        return await stdout.readuntil()
    except asyncio.IncompleteReadError as exc:
        return exc.partial
    except asyncio.LimitOverrunError as exc:
        begin = tail = await stdout.readexactly(exc.consumed)
    begin, skipped = begin[:ENDS], len(begin)
    while skipped < MOST_SKIPPED:
        try:
            rest = await stdout.readuntil()
        except asyncio.IncompleteReadError:
            return b""
        except asyncio.LimitOverrunError as exc:
            tail = (await stdout.readexactly(exc.consumed))[-ENDS:]
            skipped += exc.consumed
        else:
            return _too_long(begin, (tail + rest)[-ENDS:])
    return b""


def _too_long(begin: bytes, end: bytes) -> bytes:
    """An answer from what the other one began and ended with: libraries have the id at either
    place. Empty when there is none."""
    found = ID_FIRST.match(begin) or ID_LAST.search(end)
    if found is None:
        return b""
    error = b'{"code":%d,"message":"The answer is too large."}' % PARSE_ERROR
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}\n' % (found[1], error)


def _message(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as exc:
        return exc


async def _write(process: asyncio.subprocess.Process, messages: Any) -> None:
    assert process.stdin is not None
    with contextlib.suppress(ConnectionError):  # it has ended, which the reader notices
        async for message in messages:
            text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
            process.stdin.write(text.encode() + b"\n")
            await process.stdin.drain()


async def _end(process: asyncio.subprocess.Process) -> None:
    """It may end by itself; it is told to; it is killed, at once where nobody waits any longer."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        if not await _has_ended(process):
            _signal(process, signal.SIGTERM)
            await _has_ended(process)
    finally:
        _signal(process, signal.SIGKILL)  # also to what it started and left behind
        await _has_ended(process)
        # asyncio has no other way to let go of pipes that somebody still holds.
        process._transport.close()  # type: ignore[attr-defined]


async def _has_ended(process: asyncio.subprocess.Process) -> bool:
    """Within its time."""
    try:
        await asyncio.wait_for(process.wait(), GRACE)
    except TimeoutError:
        return False
    return True


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
