"""A program: the API's handler, without a server around it, and all that it does counted.

Reads requests, one JSON object per line, from standard input; writes what each of them took to
standard output. The tests of the guard rails ask it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Callable
from typing import Any

from responses_gateway.asgi import api_application  # sets Django up

from apps.api.engine.process import process  # isort: skip
from apps.store import db  # isort: skip
from apps.store.threads import Threads  # isort: skip
from django.db.backends.signals import connection_created  # isort: skip

Json = dict[str, Any]


class Counter:
    """What the request under way has taken so far."""

    def __init__(self) -> None:
        self.units: list[tuple[str, list[str]]] = []
        self.hops = 0
        self.sends: list[str] = []
        self.status = 0
        self._thread = threading.local()

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Put counters where every unit, statement and hop to a thread passes."""
        returning, hop, put = db._returning, loop.run_in_executor, Threads._put

        def unit(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            self._thread.statements = []
            self.units.append((function.__name__, self._thread.statements))
            return returning(function, *args, **kwargs)

        def counted_hop(*args: Any) -> Any:
            self.hops += 1
            return hop(*args)

        def counted_visit(threads: Threads, job: Any) -> None:
            self.hops += 1
            put(threads, job)

        db._returning = unit  # type: ignore[assignment]
        Threads._put = counted_visit  # type: ignore[method-assign,assignment]
        loop.run_in_executor = counted_hop  # type: ignore[method-assign,assignment]
        connection_created.connect(self._on_connection)

    def _on_connection(self, *, connection: Any, **kwargs: Any) -> None:
        if self._statement not in connection.execute_wrappers:
            connection.execute_wrappers.append(self._statement)

    def _statement(
        self, execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        self._thread.statements.append(sql)
        return execute(sql, params, many, context)

    async def send(self, message: Json) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.sends.append(message.get("body", b"").decode())

    def report(self) -> Json:
        facts = {name: getattr(self, name) for name in ("status", "units", "hops", "sends")}
        self.units, self.hops, self.sends, self.status = [], 0, [], 0
        return facts


def scope(path: str) -> Json:
    return {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }


async def ask(body: bytes, counter: Counter) -> Json:
    """One request, and whatever is done after it."""
    messages = [{"type": "http.request", "body": body}]

    async def receive() -> Json:
        if not messages:
            await asyncio.Event().wait()  # the client stays
        return messages.pop()

    await api_application(scope("/v1/responses"), receive, counter.send)
    while process.active:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.001)
    return counter.report()


async def housekeeping(counter: Counter) -> None:
    """The first round of it, which would be counted with whatever request comes meanwhile. The
    next one is as far away as a third of the lease."""
    await process.start()
    while "sweep" not in dict(counter.units):  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.001)
    counter.report()


async def main() -> None:
    counter = Counter()
    counter.install(asyncio.get_running_loop())
    await housekeeping(counter)
    for line in sys.stdin:
        print(json.dumps(await ask(line.encode(), counter)), flush=True)  # noqa: T201
    await process.stop()


if __name__ == "__main__":
    asyncio.run(main())
