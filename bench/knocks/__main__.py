"""Command line of the knocks: starts the programs, lets things happen, prints the tables."""

from __future__ import annotations

import argparse
import asyncio
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from bench import servers, services
from bench.knocks.clients import Seen
from bench.knocks.load import Event, load
from bench.knocks.served import LEASE, Processes, Served
from bench.knocks.soak import soak
from bench.loop import run
from bench.report import Row, table
from bench.services import Service

AWAY = 2.0
"""Seconds for which a service stays away."""
HEAD = (
    "what happens", "completed", "other ends", "calls of tools", "told completed, not stored",
    "left running",
)  # fmt: skip


@dataclass
class Knocks:
    """What runs meanwhile, and what came of it."""

    args: argparse.Namespace
    folder: Path
    upstream: int
    mcp_url: str
    database: Service
    database_url: str
    redis: Service
    redis_url: str
    rows: list[Row] = field(default_factory=list)

    @contextmanager
    def served(self, name: str, *, processes: int, scaled: bool = False) -> Iterator[Served]:
        settings = {"DATABASE_URL": self.database_url}
        if self.args.sandbox_dir:
            settings["GATEWAY_SANDBOX_DIR"] = self.args.sandbox_dir
        if scaled:
            settings |= {"REDIS_URL": self.redis_url}
        with closing(
            Served(
                self.folder / name,
                settings,
                upstream=self.upstream,
                mcp_url=self.mcp_url,
                processes=processes,
            )
        ) as running:
            yield running

    async def knock(self, words: str, served: Served, event: Event) -> None:
        seen = await load(served, self.mcp_url, seconds=self.args.seconds, event=event, seen=Seen())
        await self.note(words, seen)

    async def note(self, words: str, seen: Seen) -> None:
        """Once the leases of the dead have run out, compare with the database."""
        await asyncio.sleep(2.5 * LEASE)
        with psycopg.connect(self.database_url) as database:
            rows = database.execute("SELECT id, status FROM store_response").fetchall()
        stored = {response_id for response_id, status in rows if status == "completed"}
        running = sum(status in ("queued", "in_progress") for _, status in rows)
        ends = dict(sorted(seen.ends.items()))
        completed = str(ends.pop("completed", 0))
        counts = (completed, _words(ends), _words(dict(sorted(seen.calls.items()))))
        self.rows.append((words, *counts, str(len(seen.told - stored)), str(running)))


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {words}" for words, number in counts.items()) or "none"


async def knocks(what: Knocks) -> None:
    async def restart_database() -> None:
        await _restart(what.database, signal.SIGINT)

    async def restart_redis() -> None:
        await _restart(what.redis, signal.SIGKILL)

    for processes in (2, 4):
        with what.served(f"serve{processes}", processes=processes) as served:

            async def kill_server(served: Served = served) -> None:
                await _kill(served.servers())

            async def kill_tool_host(served: Served = served) -> None:
                await _kill(served.tool_host())

            words = f"one of {processes} processes killed (SIGKILL)"
            await what.knock(words, served, kill_server)
            if processes == 2:
                await what.knock("the tool host killed (SIGKILL)", served, kill_tool_host)
                words = f"PostgreSQL stopped at once, started {AWAY:g} s later"
                await what.knock(words, served, restart_database)
    with what.served("scaled", processes=2, scaled=True) as served:
        words = f"Redis, the broker of a sandbox worker, killed, started {AWAY:g} s later"
        await what.knock(words, served, restart_redis)

        async def kill_worker() -> None:
            await _kill(served.tool_host())

        await what.knock("the sandbox worker killed (SIGKILL)", served, kill_worker)


async def _kill(processes: Processes) -> None:
    """The busiest of them."""
    max(processes, key=lambda each: each.num_fds()).send_signal(signal.SIGKILL)


async def _restart(service: Service, number: signal.Signals) -> None:
    await asyncio.to_thread(service.stop, number)
    await asyncio.sleep(AWAY)
    await asyncio.to_thread(service.start)


async def soaked(what: Knocks) -> None:
    with what.served("soak", processes=2) as served:
        minutes, rate = what.args.soak, what.args.rate
        seen = await soak(served, what.mcp_url, minutes=minutes, rate=rate)
        await what.note("nothing (soak)", seen)


async def everything(what: Knocks) -> None:
    if what.args.seconds:
        await knocks(what)
    if what.args.soak:
        await soaked(what)
    print(table(HEAD, what.rows))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.knocks", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=30, help="load around each knock (30); 0: no knocks"
    )
    parser.add_argument(
        "--soak", type=float, default=30, metavar="MINUTES", help="of the soak (30); 0: no soak"
    )
    parser.add_argument("--rate", type=float, default=8, help="requests a second of the soak (8)")
    parser.add_argument(
        "--sandbox-dir", metavar="FOLDER", help="what `manage.py sandbox install` has made"
    )
    args = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-knocks-")))
        upstream = stack.enter_context(servers.upstream())
        port = stack.enter_context(servers.mcp_server())
        database, database_url = stack.enter_context(services.postgres(folder))
        redis, redis_url = stack.enter_context(services.redis(folder))
        what = Knocks(
            args=args,
            folder=folder,
            upstream=upstream.port,
            mcp_url=f"http://127.0.0.1:{port}/mcp",
            database=database,
            database_url=database_url,
            redis=redis,
            redis_url=redis_url,
        )
        run(everything(what))


if __name__ == "__main__":
    main()
