"""Has code run by sandbox workers: Celery carries the calls, Redis what comes back.

The node that holds a container gets its calls, in a queue of its own. A node that is not heard of
any more loses its containers to others, and a call that it had not claimed is given to the next:
the claim decides, see ``ledger.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, NamedTuple

import orjson
import redis.asyncio as aioredis
import structlog
from amqp.exceptions import AMQPError
from celery import current_app
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError
from redis.asyncio.retry import Retry
from redis.exceptions import RedisError

from apps.tools.base import ToolUnavailable
from apps.tools.code_interpreter import ledger
from apps.tools.code_interpreter.calls import Call, Failed, NodeEvent, Placed, is_end
from apps.tools.code_interpreter.contract import ContainerFiles
from apps.tools.code_interpreter.setup import (
    BACKOFF,
    RETRIES,
    queue_seconds,
    sandbox_redis_url,
)

log = structlog.stdlib.get_logger(__name__)

NO_NODE = (
    "No sandbox worker is alive that can run code. Start one with `manage.py worker`, or run "
    "`manage.py serve --with-worker`; `manage.py doctor` lists those that there are."
)
NO_REDIS = "Set REDIS_URL: what code puts out comes back through Redis, whatever the broker is."
AWAY = "Redis, through which sandbox workers are reached, does not answer."
NO_BROKER = "The broker of the sandbox workers does not answer."
DIED = "The sandbox worker that ran the code died."
SILENT = "The sandbox worker that ran the code does not say what came of it."
FORGOTTEN = "Redis has lost what it knew of the call: its code may have run."
TRIES = 3
"""Nodes that a call is offered to, when one after the other dies before it claims it."""
LISTEN_MS = 1000
REFRESH_S = 5.0
MARGIN_S = 120.0
"""For what a node does beside running the code: it starts an interpreter and moves files."""


class Dispatch(NamedTuple):
    """A call on its way to one node."""

    id: str
    node: str
    call: Call


class _Unclaimed(Exception):
    """The node died without having claimed the call, and now cannot."""


class WorkerNodes:
    """The sandbox workers of this deployment, from one server process."""

    def __init__(self) -> None:
        self._client: aioredis.Redis | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def _redis(self) -> Any:
        """The client of this event loop: connections belong to one. Its types know nothing of
        ``decode_responses``."""
        if not sandbox_redis_url():
            raise ToolUnavailable(NO_REDIS)
        loop = asyncio.get_running_loop()
        if self._client is None or self._loop is not loop:
            retry = Retry(BACKOFF, RETRIES)
            self._client = aioredis.from_url(
                sandbox_redis_url(), decode_responses=True, retry=retry
            )
            self._loop = loop
        return self._client

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    # --- For operators ----------------------------------------------------------------------------

    async def status(self) -> list[dict[str, Any]]:
        try:
            found = await self._status()
        except RedisError as exc:
            log.warning("Redis is away", reason=str(exc))  # which clients need not know
            raise ToolUnavailable(AWAY) from exc
        if not found:
            raise ToolUnavailable(NO_NODE)
        return found

    async def _status(self) -> list[dict[str, Any]]:
        nodes = await self._redis.zrange(ledger.NODES, 0, -1)
        said = [await self._redis.hgetall(ledger.node_key(node)) for node in nodes]
        return [ledger.status_of(fields) for fields in said if fields]

    async def discard(self, container_id: str) -> None:
        try:
            node = await self._redis.hget(ledger.container_key(container_id), "node")
            if node is not None:
                await self._control(node, discard=container_id)
        except RedisError as exc:
            raise ToolUnavailable(AWAY) from exc

    async def _control(self, node: str, **word: str) -> None:
        await self._redis.publish(ledger.control_channel(node), orjson.dumps(word))

    # --- Calls ------------------------------------------------------------------------------------

    async def run(self, call: Call, files: ContainerFiles) -> AsyncGenerator[NodeEvent, None]:
        try:
            for _ in range(TRIES):
                placed = await self._place(call)
                if placed is None:
                    break
                yield placed
                address = files.address(placed.epoch)
                moved = replace(call, epoch=placed.epoch, transfer=address)
                dispatch = Dispatch(f"{call.id}.{placed.epoch}", placed.node, moved)
                with suppress(_Unclaimed):
                    async with aclosing(self._follow(dispatch)) as followed:
                        async for event in followed:
                            yield event
                    return
            yield Failed("unavailable", NO_NODE)
        except RedisError as exc:
            log.warning("call lost with Redis", call=call.id, reason=str(exc))
            yield Failed("lost", AWAY)
        except ToolUnavailable as exc:
            yield Failed("unavailable", str(exc))
        except (OperationalError, AMQPError) as exc:
            log.warning("call not sent", call=call.id, reason=str(exc))
            yield Failed("unavailable", NO_BROKER)

    async def _place(self, call: Call) -> Placed | None:
        """The node for the call; None where there is none."""
        found = await self._redis.eval(
            ledger.PLACE,
            2,
            ledger.container_key(call.container_id),
            ledger.NODES,
            str(call.epoch),
            ledger.node_key(""),
            str(ledger.CONTAINER_S),
        )
        return Placed(found[0], int(found[1])) if found else None

    async def _follow(self, dispatch: Dispatch) -> AsyncGenerator[NodeEvent, None]:
        """Send the call and tell what happens. Raises _Unclaimed."""
        wanted = ledger.wanted_key(dispatch.id)
        await self._redis.set(wanted, 1, ex=ledger.WANTED_S)
        ended = False
        try:
            await asyncio.to_thread(_send, dispatch)
            async for event in self._events(dispatch):
                ended = is_end(event)
                yield event
        finally:
            # Shielded, since a client that left cancels this; what fails here expires by itself.
            await asyncio.shield(self._let_go(dispatch, ended))

    async def _let_go(self, dispatch: Dispatch, ended: bool) -> None:
        with suppress(RedisError):
            await self._redis.delete(ledger.wanted_key(dispatch.id))
            if ended:
                await self._redis.delete(ledger.events_key(dispatch.id))
            else:
                await self._control(dispatch.node, interrupt=dispatch.call.id)

    async def _events(self, dispatch: Dispatch) -> AsyncGenerator[NodeEvent, None]:
        loop = asyncio.get_running_loop()
        key, last = ledger.events_key(dispatch.id), "0"
        give_up, refresh = loop.time() + queue_seconds(), loop.time() + REFRESH_S
        dead = claimed = forgotten = False
        while True:
            _heed_cancellation()
            block = None if dead else LISTEN_MS
            found = await self._redis.xread({key: last}, count=100, block=block)
            for position, fields in found[0][1] if found else ():
                last = position
                yield (event := ledger.read_entry(fields))
                if is_end(event):
                    return
            if loop.time() >= refresh:
                forgotten = not await self._keep_wanted(dispatch)
                refresh = loop.time() + REFRESH_S
            if found:
                claimed, give_up = True, loop.time() + _longest_silence(dispatch.call)
                continue
            if dead or forgotten:
                known = await self._keep_wanted(dispatch)
                yield Failed("lost", DIED if known else FORGOTTEN)
                return
            dead = not await self._redis.exists(ledger.node_key(dispatch.node))
            late = loop.time() >= give_up
            if not claimed and (dead or late):
                if await self._revoke(dispatch):
                    # Looked at afterwards: as long as it is there, no claim was forgotten.
                    if not await self._keep_wanted(dispatch):
                        yield Failed("lost", FORGOTTEN)
                        return
                    if dead:
                        raise _Unclaimed
                    yield Failed("busy", "All sandbox workers are busy.")
                    return
                claimed, give_up = True, loop.time() + _longest_silence(dispatch.call)
            elif late and not dead:
                yield Failed("lost", SILENT)
                return

    async def _keep_wanted(self, dispatch: Dispatch) -> bool:
        """Whether Redis still knew that the call is wanted. Where it did not, it has been
        restarted, and may have forgotten a claim too."""
        key = ledger.wanted_key(dispatch.id)
        return bool(await self._redis.set(key, 1, ex=ledger.WANTED_S, xx=True))

    async def _revoke(self, dispatch: Dispatch) -> bool:
        """Whether nobody has run the call, and nobody will. Only this gateway revokes it: where
        that is said already, the answer to its own word was lost."""
        key = ledger.claim_key(dispatch.id)
        said = await self._redis.set(key, ledger.REVOKED, nx=True, ex=ledger.CLAIM_S)
        return bool(said) or await self._redis.get(key) == ledger.REVOKED


def _heed_cancellation() -> None:
    """Before Python 3.12, ``asyncio.wait_for`` swallows a cancellation that comes just when it is
    done, and redis-py sends through it: the client has left, and the code would go on."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _longest_silence(call: Call) -> float:
    """Seconds in which a node that has claimed the call tells something of it, or has failed."""
    return queue_seconds() + call.limits.wall_s + call.limits.grace_s + MARGIN_S


def _send(dispatch: Dispatch) -> None:
    """Hand the call to the broker. Raises OperationalError, AMQPError."""
    queue = Queue(
        ledger.queue_name(dispatch.node),
        Exchange(""),
        routing_key=ledger.queue_name(dispatch.node),
        no_declare=True,
    )
    current_app.send_task(
        ledger.TASK,
        args=[{"dispatch": dispatch.id, "call": dispatch.call.to_json()}],
        queue=queue,  # type: ignore[arg-type] # a Queue is taken too
        expires=queue_seconds() + 60,
        retry_policy={"max_retries": 2, "interval_start": 0.1},
    )
