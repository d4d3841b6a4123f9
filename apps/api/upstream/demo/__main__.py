"""Command line of the demo upstream: listens until SIGTERM or SIGINT, then ends at once."""

import argparse
import asyncio
import signal
import sys
from typing import Any

from aiohttp import web

from .request import MODEL
from .server import DemoServer


async def serve(server: DemoServer, host: str, port: int) -> None:
    runner = web.AppRunner(
        server.application(), access_log=None, handler_cancellation=True, shutdown_timeout=0.2
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        address: tuple[Any, ...] = runner.addresses[0]
        say(
            f"demo upstream (rule-based, not a language model): model {MODEL!r}"
            f" on http://{address[0]}:{address[1]}/v1\n"
        )
        await _told_to_stop()
    finally:
        await runner.cleanup()


async def _told_to_stop() -> None:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await told.wait()


def say(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m apps.api.upstream.demo",
        description="A rule-based stand-in for vLLM, for trying the gateway without a GPU.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8458, help="0 takes any free one")
    parser.add_argument("--token-delay", type=float, default=15.0, help="milliseconds a token")
    parser.add_argument("--context", type=int, default=32_768, help="tokens of prompt and answer")
    return parser.parse_args(arguments)


def main() -> int:
    options = parse()
    server = DemoServer(token_delay=options.token_delay / 1000, context=options.context)
    try:
        asyncio.run(serve(server, options.host, options.port))
    except OSError as exc:
        sys.stderr.write(f"demo upstream: cannot listen on port {options.port}: {exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
