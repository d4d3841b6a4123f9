"""A sandbox worker as a node: says that it lives, claims calls, tells what happens.

One per worker process. It knows Redis and the sandboxes, and neither Django nor the store.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import count
from typing import Any, TypeVar

import orjson
import redis
import structlog

from apps.tools.code_interpreter import ledger
from apps.tools.code_interpreter.calls import Call, Failed, NodeEvent, is_end
from apps.tools.code_interpreter.http_transfer import HttpTransfer
from apps.tools.code_interpreter.manager import SessionManager
from apps.tools.code_interpreter.places import CANCELLED

log = structlog.stdlib.get_logger(__name__)

T = TypeVar("T")

STOP_S = 2.0
INSIST_S = 2 * ledger.LEASE_MS / 1000
"""Longer than a lease: by then, either Redis is back, or the gateways know this node as dead."""
AGAIN_S = 1.0


class Node:
    """``run`` is called by the tasks, in threads. ``start`` before, ``stop`` at the end."""

    def __init__(self, name: str, client: redis.Redis, manager: SessionManager) -> None:
        self.name, self.manager = name, manager
        self._redis = client
        self._running: dict[str, str] = {}  # dispatches, with their calls
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._draining = False
        self._threads = [
            threading.Thread(target=self._beat_often, name="beat", daemon=True),
            threading.Thread(target=self._listen, name="control", daemon=True),
            threading.Thread(target=self._sweep_often, name="sweep", daemon=True),
        ]

    def start(self) -> None:
        """Be a node, as soon as there is a Redis to meet the gateways in."""
        for thread in self._threads:
            thread.start()

    def drain(self) -> None:
        """Take no more containers; calls under way go on."""
        self._draining = True
        self._try(self._beat)

    def stop(self) -> None:
        self._draining = True
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():  # a beat after the words below would undo them
                thread.join(STOP_S)
        self._try(lambda: self._redis.delete(ledger.node_key(self.name)))
        self._try(lambda: self._redis.zrem(ledger.NODES, self.name))
        self.manager.close()

    # --- Calls ------------------------------------------------------------------------------------

    def run(self, message: Mapping[str, Any]) -> None:
        """Run a dispatched call, unless the gateway has given it up or it has run before."""
        dispatch, call = str(message["dispatch"]), Call.from_json(message["call"])
        word = f"{self.name}:{secrets.token_hex(8)}"
        try:
            if self._insist(lambda: self._claim(dispatch, word)):
                self._run(dispatch, call)
            else:
                log.info("call not ours", call=call.id)
        except redis.RedisError as exc:
            log.warning("call lost with Redis", call=call.id, reason=str(exc))

    def _claim(self, dispatch: str, word: str) -> bool:
        """Whether this delivery of the call is the one that runs. Its word is like no other, so
        that it is known again where the answer was lost and Redis was asked twice."""
        key = ledger.claim_key(dispatch)
        said = self._redis.set(key, word, nx=True, ex=ledger.CLAIM_S)
        return bool(said) or self._redis.get(key) == word

    def _run(self, dispatch: str, call: Call) -> None:
        numbers = count(1)
        with self._lock:
            self._running[dispatch] = call.id
        try:
            end = self._carry_out(dispatch, call, numbers)
            last = next(numbers)
            self._insist(lambda: self._tell(dispatch, last, end))
        finally:
            with self._lock:
                del self._running[dispatch]

    def _carry_out(self, dispatch: str, call: Call, numbers: Iterator[int]) -> NodeEvent:
        """Tell what happens but for the end, which is returned."""
        try:
            if not self._redis.exists(ledger.wanted_key(dispatch)):
                return CANCELLED
            with closing(self.manager.run(call, HttpTransfer(call.transfer))) as events:
                for event in events:
                    if is_end(event):
                        return event
                    self._tell(dispatch, next(numbers), event)
        except redis.RedisError as exc:
            log.warning("call stopped: it cannot be told of", call=call.id, reason=str(exc))
            return Failed("lost", "The code was stopped: what it put out was lost with Redis.")
        except Exception:
            log.exception("call failed", call=call.id)
        return Failed("lost", "The sandbox worker failed; see its log.")

    def _tell(self, dispatch: str, number: int, event: NodeEvent) -> None:
        """Add an entry to the stream. One that is told again, because the answer was lost, is
        there once: numbers only grow."""
        key, place = ledger.events_key(dispatch), f"{number}-0"
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.xadd(key, ledger.entry(event), id=place)  # type: ignore[arg-type] # its own dict type
        pipeline.expire(key, ledger.EVENTS_S)
        try:
            pipeline.execute()
        except redis.ResponseError:
            if not self._redis.xrange(key, place, place):
                raise

    def _insist(self, do: Callable[[], T]) -> T:
        """Do what must not be left undone: claims and ends. Raises redis.RedisError."""
        until = time.monotonic() + INSIST_S
        while True:
            try:
                return do()
            except redis.RedisError as exc:
                if time.monotonic() >= until or self._stopping.wait(AGAIN_S):
                    raise
                log.warning("Redis is away", reason=str(exc))

    # --- Being alive ------------------------------------------------------------------------------

    def _beat_often(self) -> None:
        ready = False
        while not self._stopping.is_set():
            if self._try(self._beat) and not ready:
                ready = True
                log.info("sandbox worker ready", node=self.name)
            self._try(self._drop_unwanted)
            self._stopping.wait(ledger.BEAT_S)

    def _sweep_often(self) -> None:
        """Apart from the beat: an interpreter that is written down may keep it waiting."""
        while not self._stopping.wait(ledger.BEAT_S):
            self._try(self.manager.sweep)

    def _beat(self) -> None:
        status = self.manager.status()
        load = status["warm"] + status["busy"] + status["queued"]
        self._redis.eval(
            ledger.BEAT,
            2,
            ledger.node_key(self.name),
            ledger.NODES,
            self.name,
            str(ledger.LEASE_MS),
            "1" if status["usable"] and not self._draining else "0",
            str(load),
            str(status["capacity"]),
            orjson.dumps({**status, "node": self.name, "draining": self._draining}).decode(),
        )

    def _drop_unwanted(self) -> None:
        """Stop calls whose gateway has died, or whose word to stop did not arrive."""
        with self._lock:
            running = dict(self._running)
        for dispatch, call_id in running.items():
            if not self._redis.exists(ledger.wanted_key(dispatch)):
                self.manager.interrupt(call_id)

    def _listen(self) -> None:
        """Hear what cannot wait in the queue."""
        while not self._stopping.is_set():
            self._try(self._hear)
            self._stopping.wait(0.5)

    def _hear(self) -> None:
        with closing(self._redis.pubsub(ignore_subscribe_messages=True)) as channel:  # type: ignore[no-untyped-call]
            channel.subscribe(ledger.control_channel(self.name))
            while not self._stopping.is_set():
                message = channel.get_message(timeout=1.0)
                if message is not None:
                    self._obey(orjson.loads(message["data"]))

    def _obey(self, word: Mapping[str, Any]) -> None:
        if "interrupt" in word:
            self.manager.interrupt(str(word["interrupt"]))
        if "discard" in word:
            self.manager.discard(str(word["discard"]))

    def _try(self, do: Callable[[], object]) -> bool:
        """Do it, and tell whether that worked."""
        try:
            do()
        except redis.RedisError as exc:
            log.warning("Redis is away", reason=str(exc))
        except Exception:
            log.exception("housekeeping failed")
        else:
            return True
        return False


current: Node | None = None
"""The node that this process is, where it is one."""


def this() -> Node:
    assert current is not None, "This process is no sandbox worker."
    return current
