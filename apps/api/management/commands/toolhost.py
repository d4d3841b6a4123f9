"""Runs the tool host of this machine, beside `daphne` or `runserver`; `serve` starts its own."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.tools.host import CannotHostError, Service, ToolHost, socket_path, wanted_services


class Command(BaseCommand):
    help = "Run the tool host: what hosted tools need that no server process can own alone."
    requires_system_checks: list[str] = []  # those of the servers, which run them

    def handle(self, **options: Any) -> None:
        services = wanted_services()
        if not services:
            raise CommandError("Nothing is configured that a tool host would do here.")
        try:
            asyncio.run(_serve([service() for service in services]))
        except CannotHostError as exc:
            raise CommandError(str(exc)) from exc


async def _serve(services: list[Service]) -> None:
    """Until a signal comes."""
    serving = asyncio.create_task(ToolHost(socket_path(), services).serve())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    await asyncio.wait([serving])
    if not serving.cancelled():
        serving.result()
