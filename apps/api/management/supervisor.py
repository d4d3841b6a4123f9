"""Runs the processes of ``serve``: the server's, and an upstream of its own if there is one.

It starts them, starts a server process again that dies, passes signals on, and ends with an exit
status. What is printed when all is ready is made elsewhere.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from apps.api.management import readiness
from apps.api.management.children import Child, describe
from apps.api.management.terminal import Terminal

STEADY = 10.0  # a server process that lived this long did not fail at its start
ATTEMPTS = 4
FIRST_DELAY = 0.5
LAST_DELAY = 30.0  # between the starts of a helper that does not start
HELPER_GRACE = 15.0
DRAIN_MARGIN = 30.0  # a draining server ends its runs and flushes after the drain time
UPSTREAM_GRACE = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnUpstream:
    """An upstream that is started and stopped with the gateway."""

    label: str
    command: Sequence[str]
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Helper:
    """A process beside the servers, which serve without it, though not everything."""

    label: str
    command: Sequence[str]
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run. ``env`` is the environment of the server processes, ``numbers`` the folder in
    which they add up what they count. ``runs_code``: one of the helpers does."""

    listening: socket.socket
    processes: int
    env: Mapping[str, str]
    numbers: Path
    local_url: str
    drain_timeout: float
    upstream_url: str
    upstream_key: str
    upstream_timeout: float
    upstream_interval: float
    upstream: OwnUpstream | None
    helpers: Sequence[Helper] = ()
    runs_code: bool = False


class SupervisionError(Exception):
    """Something that has to run does not; the message says what."""


class Supervisor:
    """One ``serve``. ``announce`` makes the text for when the models named are served;
    ``afterwards`` is done in the background from then on."""

    def __init__(
        self,
        plan: Plan,
        terminal: Terminal,
        announce: Callable[[list[str]], Awaitable[str]],
        afterwards: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.plan, self.terminal = plan, terminal
        self.announce, self.afterwards = announce, afterwards
        self.servers: set[Child] = set()
        self.helpers: set[Child] = set()
        self.upstream: Child | None = None
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def run(self) -> int:
        """Run until a signal or a failure; the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.interrupt, number)
        tasks: list[asyncio.Task[None]] = []
        try:
            if self.plan.upstream is not None:
                tasks.append(loop.create_task(self.guard(self.run_upstream(self.plan.upstream))))
            jobs = [self.keep_helper(helper) for helper in self.plan.helpers]
            jobs += [self.keep_server() for _ in range(self.plan.processes)]
            tasks += [loop.create_task(self.guard(job)) for job in [*jobs, self.become_ready()]]
            await asyncio.wait([self.ended])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.stop()
        return self.ended.result()

    async def guard(self, job: Awaitable[None]) -> None:
        """Do the job; a failure of it ends everything."""
        try:
            await job
        except (SupervisionError, readiness.NotReadyError) as exc:
            if not self.ended.done():
                self.terminal.error(str(exc))
                self.ended.set_result(1)
        except Exception as exc:
            if not self.ended.done():
                self.ended.set_exception(exc)

    # -- processes ---------------------------------------------------------------------------------

    async def keep_server(self) -> None:
        """Keep one server process running."""
        fd = self.plan.listening.fileno()
        command = [sys.executable, "-m", "responses_gateway.server", "--fd", str(fd)]
        failures = 0
        while True:
            started = time.monotonic()
            child = await Child.start(command, env=self.plan.env, pass_fds=[fd])
            self.servers.add(child)
            status = await child.wait()
            self.servers.discard(child)
            # What it held open is open no more.
            mark_process_dead(child.process.pid, str(self.plan.numbers))  # type: ignore[no-untyped-call]
            failures = failures + 1 if time.monotonic() - started < STEADY else 1
            text = f"Server process {child.process.pid} {describe(status)}."
            if failures >= ATTEMPTS:
                raise SupervisionError(f"{text} It does not start: giving up.")
            delay = FIRST_DELAY * 2 ** (failures - 1)
            self.terminal.line(f"{text} Another one is started in {delay:g} s.")
            await asyncio.sleep(delay)

    async def keep_helper(self, helper: Helper) -> None:
        """Keep one helper running, however often it ends."""
        failures = 0
        while True:
            started = time.monotonic()
            child = await Child.start(helper.command, env=helper.env)
            self.helpers.add(child)
            status = await child.wait()
            self.helpers.discard(child)
            child.kill()  # what it started and left behind
            failures = failures + 1 if time.monotonic() - started < STEADY else 1
            delay = min(FIRST_DELAY * 2 ** (failures - 1), LAST_DELAY)
            self.terminal.line(
                f"The {helper.label} {describe(status)}. It is started again in {delay:g} s."
            )
            await asyncio.sleep(delay)

    async def run_upstream(self, own: OwnUpstream) -> None:
        """Run the upstream; that it ends is a failure."""
        try:
            self.upstream = await Child.start(
                own.command,
                env=own.env,
                echo=lambda line: self.terminal.line(f"[{own.label}] {line}"),
            )
        except OSError as exc:
            raise SupervisionError(
                f"{own.command[0]!r} cannot be started: {exc.strerror}."
            ) from exc
        raise SupervisionError(f"[{own.label}] {describe(await self.upstream.wait())}: giving up.")

    async def become_ready(self) -> None:
        plan, progress = self.plan, self.terminal.status
        models = await readiness.upstream_models(
            plan.upstream_url,
            key=plan.upstream_key,
            health=plan.upstream is not None,
            limit=plan.upstream_timeout,
            interval=plan.upstream_interval,
            progress=progress,
        )
        await readiness.gateway_health(
            plan.local_url, interval=plan.upstream_interval, progress=progress
        )
        if plan.runs_code:
            try:
                await readiness.code(
                    plan.local_url, interval=plan.upstream_interval, progress=progress
                )
            except readiness.NotReadyError as exc:
                self.terminal.line(str(exc))
        self.terminal.line(await self.announce(models))
        if self.afterwards is not None:
            await self.afterwards()

    # -- end ---------------------------------------------------------------------------------------

    def interrupt(self, number: int) -> None:
        """A first signal drains; a second one, also while failing, kills."""
        if not self.ended.done():
            self.terminal.line(
                f"Stopping: what runs may go on for {self.plan.drain_timeout:g} s. "
                "A second Ctrl-C stops at once."
            )
            self.ended.set_result(0)
            return
        self.ended = asyncio.get_running_loop().create_future()
        self.ended.set_result(128 + number)
        for child in [*self.servers, *self.helpers, *([self.upstream] if self.upstream else [])]:
            child.kill()

    async def stop(self) -> None:
        """End all children: servers first, since their streams still need the others."""
        grace = self.plan.drain_timeout + DRAIN_MARGIN
        await asyncio.gather(*(child.stop(signal.SIGTERM, grace=grace) for child in self.servers))
        helpers = (child.stop(signal.SIGTERM, grace=HELPER_GRACE) for child in self.helpers)
        await asyncio.gather(*helpers)
        if self.upstream is not None:
            await self.upstream.stop(signal.SIGINT, grace=UPSTREAM_GRACE)
