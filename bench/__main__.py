"""Command line of the bench: starts the programs, runs the loads in turn, prints the tables."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench import report, servers
from bench.chains import converse
from bench.load import Figures, Target, drive
from bench.loop import run
from bench.manners import leave, stall
from bench.report import Round, Row
from bench.scenarios import SCENARIOS, Scenario
from bench.verify import WrongError, verify


@dataclass(frozen=True, slots=True)
class Programs:
    """What runs while the bench does. ``cached`` is a gateway with the history cache."""

    upstream: Target
    gateway: Target
    relay: Target
    cached: Target | None
    pinned: bool


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything, below a minute")
    parser.add_argument("--verify", action="store_true", help="only check that streams are right")
    parser.add_argument("--only", default="", metavar="WORDS", help="scenarios with these words")
    parser.add_argument("--rounds", type=int, help="how often each load runs (4; quick: 2)")
    parser.add_argument("--seconds", type=float, help="how long each load lasts (1.5; quick: 0.6)")
    parser.add_argument(
        "--database-url", default="", help="PostgreSQL server on which a database is made"
    )
    parser.add_argument(
        "--redis-url", default="", help="hold conversations with the history cache too"
    )
    args = parser.parse_args()
    args.rounds = args.rounds or (2 if args.quick else 4)
    args.seconds = args.seconds or (0.6 if args.quick else 1.5)
    return args


@contextmanager
def programs(args: argparse.Namespace) -> Iterator[Programs]:
    """The gateway on one CPU; the upstream, and this process from now on, on another."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
        servers.pin(server=False)
        upstream = stack.enter_context(servers.upstream())

        def gateway(name: str, **settings: str) -> Target:
            return stack.enter_context(
                servers.gateway(
                    name,
                    folder / name,
                    upstream_port=upstream.port,
                    database_url=args.database_url,
                    settings=settings,
                )
            )

        servers.pin(server=True)
        plain = gateway("gateway")
        relay = stack.enter_context(servers.relay(folder / "relay", upstream_port=upstream.port))
        cached = None
        if args.redis_url:
            cached = gateway("cached", REDIS_URL=args.redis_url, GATEWAY_HISTORY_CACHE="1")
        yield Programs(upstream, plain, relay, cached, servers.pin(server=False))


async def measure(running: Programs, args: argparse.Namespace) -> None:
    """Everything. Bad manners come first, while the gateway has no memory to use again."""
    await verify(running.gateway)
    manners = [] if args.only else await bad_manners(running, args)
    chosen = [s for s in SCENARIOS if args.only in s.words and (s.quick or not args.quick)]
    results = [(scenario, await rounds(running, scenario, args)) for scenario in chosen]
    lines = [row for scenario, each in results for row in report.target_rows(scenario, each)]
    chains = [] if args.only else await conversations(running, args)
    say(report.conditions(pinned=running.pinned, database=args.database_url, rounds=args.rounds))
    say(report.table(report.TARGET_HEAD, [*lines, *chains, *manners]))
    for scenario, each in results:
        say(report.figures_table(scenario, each))
    if running.cached is not None:
        say(await cache(running.gateway, running.cached, args))


async def rounds(running: Programs, scenario: Scenario, args: argparse.Namespace) -> list[Round]:
    """The gateway, the relay and the floor in turn, forwards and backwards."""
    load, done = replace(scenario.load, seconds=args.seconds), []
    for number in range(args.rounds):
        print(f"{scenario.words}: {number + 1} of {args.rounds}", file=sys.stderr)
        found: dict[str, Figures] = {}
        all_three = (running.gateway, running.relay, running.upstream)
        for target in all_three if number % 2 == 0 else all_three[::-1]:
            found[target.name] = figures = await drive(target, load)
            if figures.errors:
                print(f"{target.name}: {figures.first_error}", file=sys.stderr)
        done.append(Round(*(found[target.name] for target in all_three)))
    return done


async def bad_manners(running: Programs, args: argparse.Namespace) -> list[Row]:
    """Clients that do not read, and clients that leave."""
    print("bad manners", file=sys.stderr)
    stalled = report.stall_rows(await stall(running.gateway, running.upstream))
    left = await leave(running.gateway, running.upstream, times=5 if args.quick else 20)
    return [*report.leave_rows(left), *stalled]


async def conversations(running: Programs, args: argparse.Namespace) -> list[Row]:
    print("conversations", file=sys.stderr)
    return report.chain_rows(await converse(running.gateway, turns=30 if args.quick else 60))


async def cache(plain: Target, cached: Target, args: argparse.Namespace) -> str:
    """The same conversations without and with the history cache, in turn."""
    turns, found = 30 if args.quick else 60, []
    for number in range(2 if args.quick else 4):
        print(f"history cache: {number + 1}", file=sys.stderr)
        both = (("without", plain), ("with", cached))
        for name, target in both if number % 2 == 0 else both[::-1]:
            found.append((name, await converse(target, turns=turns)))
    return report.cache_table(found)


def say(text: str) -> None:
    print(text, end="\n\n", flush=True)


def main() -> int:
    args = parse()
    try:
        with programs(args) as running:
            run(verify(running.gateway) if args.verify else measure(running, args))
    except (WrongError, servers.StartError) as exc:
        print(f"{type(exc).__name__}: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
