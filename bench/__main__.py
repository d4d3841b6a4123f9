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
from bench.code_calls import QUICK, Effort, code_calls
from bench.load import Figures, Load, Target, drive
from bench.loop import run
from bench.manners import drain, leave, stall
from bench.mcp_calls import OPENS
from bench.report import Round, Row
from bench.scenarios import SCENARIOS, Scenario
from bench.script import Script
from bench.verify import WrongError, verify

SHARED_LOADS = {
    "32 tokens at once, 16 clients": Load(script=Script(tokens=32), clients=16),
    # Clients and upstream take next to nothing of the CPUs that the processes share with them.
    "32 tokens, not streamed, 64 clients": Load(
        script=Script(tokens=32), clients=64, streamed=False
    ),
}
"""What one process and then two are put under."""


@dataclass(frozen=True, slots=True)
class Programs:
    """What runs while the bench does."""

    upstream: Target
    gateway: Target
    relay: Target
    pinned: bool


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything, below a minute")
    parser.add_argument("--verify", action="store_true", help="only check that streams are right")
    parser.add_argument(
        "--only",
        default="",
        metavar="WORDS",
        help="scenarios with these words; conversations; MCP; code",
    )
    parser.add_argument("--rounds", type=int, help="how often each load runs (4; quick: 2)")
    parser.add_argument("--seconds", type=float, help="how long each load lasts (1.5; quick: 0.6)")
    parser.add_argument(
        "--database-url", default="", help="PostgreSQL server on which a database is made"
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

        servers.pin(server=True)
        gateway = stack.enter_context(
            servers.gateway(
                "gateway",
                folder / "gateway",
                upstream_port=upstream.port,
                database_url=args.database_url,
            )
        )
        relay = stack.enter_context(servers.relay(folder / "relay", upstream_port=upstream.port))
        yield Programs(upstream, gateway, relay, servers.pin(server=False))


async def measure(running: Programs, args: argparse.Namespace) -> None:
    """Everything. Bad manners come first, while the gateway has no memory to use again."""
    await verify(running.gateway)
    manners = [] if args.only else await bad_manners(running, args)
    chosen = [s for s in SCENARIOS if args.only in s.words and (s.quick or not args.quick)]
    results = [(scenario, await rounds(running, scenario, args)) for scenario in chosen]
    lines = [row for scenario, each in results for row in report.target_rows(scenario, each)]
    chains = await conversations(running, args) if args.only in ("", "conversations") else []
    manners += [] if args.only else await stopping(running.upstream, args)
    manners += await code(args) if args.only in ("", "code") else []
    manners += await mcp_calls(running.upstream, args) if args.only in ("", "MCP") else []
    say(report.conditions(pinned=running.pinned, database=args.database_url, rounds=args.rounds))
    say(report.table(report.TARGET_HEAD, [*lines, *chains, *manners]))
    for scenario, each in results:
        say(report.figures_table(scenario, each))


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


async def stopping(upstream: Target, args: argparse.Namespace) -> list[Row]:
    """A gateway that is stopped under load, and how much two processes do more than one. Nothing
    has a CPU of its own here."""
    print("stopping, and several processes", file=sys.stderr)
    found: dict[str, list[Figures]] = {words: [] for words in SHARED_LOADS}
    servers.pin_nowhere()
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        for processes in (1, 2):
            name = f"of {processes}"
            with servers.gateway(
                name,
                Path(folder) / name,
                upstream_port=upstream.port,
                database_url=args.database_url,
                processes=processes,
            ) as target:
                for words, load in SHARED_LOADS.items():
                    figures = await drive(target, replace(load, seconds=args.seconds))
                    found[words].append(figures)
                if processes == 1:
                    stopped = report.drain_rows(await drain(target))
    servers.pin(server=False)
    return [*stopped, *(report.scaling_row(words, *each) for words, each in found.items())]


async def conversations(running: Programs, args: argparse.Namespace) -> list[Row]:
    print("conversations", file=sys.stderr)
    until = (60,) if args.quick else (60, 200)
    return report.chain_rows(await converse(running.gateway, until=until, rounds=args.rounds))


async def mcp_calls(upstream: Target, args: argparse.Namespace) -> list[Row]:
    """Calls of a tool through the gateway's runtime, and by a client of the server's own; then
    responses that make two calls each, through the whole gateway."""
    print("MCP calls", file=sys.stderr)
    load = Load(
        script=Script(tokens=16, hosted=2),
        clients=100,
        seconds=args.seconds,
        tools=({"type": "mcp", "server_label": "bench"},),
    )
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as name:
        folder = Path(name)
        rows = report.mcp_rows(servers.mcp_calls(folder / "calls", database_url=args.database_url))
        with (
            servers.mcp_server() as port,
            servers.gateway(
                "with MCP",
                folder / "load",
                upstream_port=upstream.port,
                database_url=args.database_url,
                mcp_port=port,
            ) as target,
        ):
            figures = await drive(target, load)
            seen = servers.mcp_seen(port)
    if figures.errors:
        print(f"{target.name}: {figures.first_error}", file=sys.stderr)
    sessions = sum(seen.get(method, 0) for method in OPENS)
    return rows + report.mcp_load_rows(
        load.clients, figures, calls=seen.get("tools/call", 0), sessions=sessions
    )


async def code(args: argparse.Namespace) -> list[Row]:
    """Calls of ``code_interpreter``, with every sandbox that is installed."""
    servers.pin_nowhere()
    found = await code_calls(QUICK if args.quick else Effort())
    servers.pin(server=False)
    return [row for figures in found for row in report.code_rows(figures)]


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
