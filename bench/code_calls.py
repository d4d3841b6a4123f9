"""What a call of ``code_interpreter`` costs: through the whole gateway, beside the sandbox itself.

The upstream is here, in the process that also asks: it calls the tool with the code that it is
asked about, and sees how long it takes from its call to the request with the result. The same code
runs in a sandbox of this process, in turn. ``python -m bench --only code`` measures this alone.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any, Literal, TypeAlias

import httpx
import orjson
import psutil  # type: ignore[import-untyped]  # it has no stubs

from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.sandboxes import make_sandbox
from apps.tools.code_interpreter.sandboxes.child import family
from bench import servers, services
from bench.chunks import Stream
from bench.load import Target
from bench.script import Script

FOLDER = Path(os.environ.get("GATEWAY_SANDBOX_DIR") or servers.ROOT / "var" / "sandbox")
Backend: TypeAlias = Literal["pyodide", "native"]
BACKENDS: tuple[Backend, ...] = ("pyodide", "native")
CODE = "1 + 1"
CALL_ENDS_IN = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured."""

    rounds: int = 10
    calls: int = 10  #: of each round
    starts: int = 5
    containers: int = 50


QUICK = Effort(rounds=4, starts=3, containers=10)


@dataclass(slots=True, kw_only=True)
class CodeFigures:
    """Of one backend; seconds of one call each, and bytes."""

    backend: str
    effort: Effort
    own: list[float] = field(default_factory=list)
    through: dict[str, list[float]] = field(default_factory=dict)  #: by the way to the sandbox
    with_spare: list[float] = field(default_factory=list)
    cold: list[float] = field(default_factory=list)
    cold_cpu: list[float] = field(default_factory=list)
    idle: float = 0.0
    in_turn: list[float] = field(default_factory=list)  #: the first call of each container
    again: list[float] = field(default_factory=list)  #: the second, after all others
    forgotten: int = 0  #: containers without their variable then

    def over(self, way: str) -> float:
        return median(self.through[way]) - median(self.own)


# --- The upstream ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeCall(Script):
    """A call of the first tool, with this code."""

    code: str = CODE

    def pieces(self, argument: str) -> list[str]:
        return [orjson.dumps({argument: self.code}).decode()]


class Upstream:
    """Calls the tool with the last thing that the user said; after the result it says a word."""

    def __init__(self) -> None:
        self.port = 0
        self.gap = 0.0
        """Seconds from the end of the last call to the request with its result."""
        self._called = 0.0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Upstream]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                _, _, rest = head.partition(b"content-length:")
                body = await reader.readexactly(int(rest.split(b"\r\n", 1)[0] or 0))
                if not body:
                    content = b'{"object":"list","data":[]}'
                    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(content))
                    writer.write(content)
                    continue
                self._answer(orjson.loads(body), writer)

    def _answer(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        last = request["messages"][-1]
        if last["role"] == "tool":
            self.gap = time.perf_counter() - self._called
            script = Script(tokens=1)
        else:
            script = CodeCall(tool=1, code=last["content"])
        stream = Stream(script, request["model"], request)
        tokens = b"".join(stream.token(position) for position in range(len(stream)))
        writer.write(stream.opening() + tokens + stream.closing())
        self._called = time.perf_counter()


class Client:
    """Asks one gateway to have code run, and checks what comes of it."""

    def __init__(self, target: Target, upstream: Upstream) -> None:
        self.target, self._upstream = target, upstream
        self._http = httpx.AsyncClient(
            base_url=f"http://{target.host}:{target.port}",
            headers={"authorization": f"Bearer {target.token}"},
            timeout=CALL_ENDS_IN,
            trust_env=False,
        )

    async def call(self, code: str, container: str | None = None) -> tuple[float, str, str]:
        """Seconds of the call, the container's id, and what came out."""
        answer = await self._http.post(
            "/v1/responses",
            json={
                "model": "bench",
                "input": code,
                "tools": [{"type": "code_interpreter", "container": container or {"type": "auto"}}],
                "include": ["code_interpreter_call.outputs"],
            },
        )
        answer.raise_for_status()
        item = next(i for i in answer.json()["output"] if i["type"] == "code_interpreter_call")
        text = "".join(output.get("logs", "") for output in item["outputs"])
        return self._upstream.gap, item["container_id"], text

    async def timed(self, container: str | None = None) -> tuple[float, str]:
        took, made, text = await self.call(CODE, container)
        assert text == "2\n", text
        return took, made

    async def ready(self) -> None:
        """Until a node is there and rests, so that its spare is ready."""
        deadline = time.monotonic() + CALL_ENDS_IN
        while not isinstance(said := await self._nodes(), list):
            if time.monotonic() > deadline:
                raise servers.StartError(f"{self.target.name}: {said}")
            await asyncio.sleep(0.1)
        assert self.target.helper is not None
        await rest(self.target.helper)

    async def _nodes(self) -> Any:
        return (await self._http.get("/ready")).json()["code_interpreter"]

    async def close(self) -> None:
        await self._http.aclose()


async def rest(pid: int, *, still: float = 1.0) -> None:
    """Until a process with all that it started has used hardly any CPU for a while."""
    before = -1.0
    while (now := cpu(pid)) - before > 0.03:
        before = now
        await asyncio.sleep(still)


def cpu(pid: int) -> float:
    total = 0.0
    for each in family(pid):
        with suppress(psutil.NoSuchProcess):
            times = psutil.Process(each).cpu_times()
            total += times.user + times.system
    return total


# --- The sandbox itself ---------------------------------------------------------------------------


def cell(session: sb.Session) -> float:
    """Seconds of one call of the sandbox's own."""
    began = time.perf_counter()
    events = list(session.execute(CODE, "call"))
    assert sb.Result("2") in events, events
    return time.perf_counter() - began


def start(sandbox: sb.Sandbox) -> tuple[float, sb.Session]:
    """A new interpreter to the end of its first call."""
    began = time.perf_counter()
    session = sandbox.start("bench", sb.Limits())
    cell(session)
    return time.perf_counter() - began, session


def proportional(pid: int) -> int:
    """Bytes of a process and its children; what several share counts in parts."""
    total = 0
    for each in family(pid):
        text = Path(f"/proc/{each}/smaps_rollup").read_text()
        line = next(line for line in text.splitlines() if line.startswith("Pss:"))
        total += int(line.split()[1]) * 1024
    return total


@contextmanager
def bare_sandbox(backend: Backend, folder: Path) -> Iterator[sb.Sandbox]:
    config = sb.SandboxConfig(backend=backend, folder=folder, spares=0)
    with closing(make_sandbox(config)) as made:
        yield made


# --- Measuring ------------------------------------------------------------------------------------


async def measure(backend: Backend, folder: Path, effort: Effort) -> CodeFigures:
    """The sandbox itself, and every way to it. ``folder`` is where it is installed."""
    figures = CodeFigures(backend=backend, effort=effort)
    settings = {"GATEWAY_SANDBOX": backend, "GATEWAY_SANDBOX_DIR": str(folder)}
    with (
        tempfile.TemporaryDirectory(prefix="gateway-bench-") as place,
        bare_sandbox(backend, folder) as own,
    ):
        sessions = []
        for _ in range(effort.starts):
            took, session = await asyncio.to_thread(start, own)
            figures.cold.append(took)
            figures.cold_cpu.append(cpu(session.pid or 0))
            sessions.append(session)
        await asyncio.sleep(1)
        figures.idle = mean(proportional(each.pid) for each in sessions if each.pid)
        for session in sessions[1:]:
            session.close()
        async with Upstream().listening() as upstream:
            with ways(Path(place), upstream.port, settings) as targets:
                clients = {name: Client(each, upstream) for name, each in targets.items()}
                await through(clients, sessions[0], figures)
                await in_turn(clients["embedded"], figures)
                for client in clients.values():
                    await client.close()
    return figures


@contextmanager
def ways(folder: Path, upstream_port: int, settings: dict[str, str]) -> Iterator[dict[str, Target]]:
    """A gateway with a tool host, and one with a worker beside a Redis, where there is one."""
    with servers.gateway(
        "embedded",
        folder / "embedded",
        upstream_port=upstream_port,
        settings=settings,
        helper=["-m", "responses_gateway", "toolhost"],
    ) as embedded:
        if not services.is_installed("redis-server"):
            yield {"embedded": embedded}
            return
        with (
            services.redis(folder) as (_, url),
            servers.gateway(
                "Celery",
                folder / "celery",
                upstream_port=upstream_port,
                settings=settings | {"REDIS_URL": url},
                helper=["-m", "responses_gateway.worker"],
            ) as scaled,
        ):
            yield {"embedded": embedded, "Celery": scaled}


async def through(clients: dict[str, Client], own: sb.Session, figures: CodeFigures) -> None:
    """First calls of new containers, then many in one: each way in turn."""
    containers = {}
    for client in clients.values():
        await client.ready()
    for _ in range(figures.effort.starts):
        took, _ = await clients["embedded"].timed()
        figures.with_spare.append(took)
        await clients["embedded"].ready()
    for name, client in clients.items():
        _, containers[name] = await client.timed()
        await client.ready()
        figures.through[name] = []
    for _ in range(figures.effort.rounds):
        for _ in range(figures.effort.calls):
            figures.own.append(await asyncio.to_thread(cell, own))
        for name, client in clients.items():
            for _ in range(figures.effort.calls):
                took, _ = await client.timed(containers[name])
                figures.through[name].append(took)


async def in_turn(client: Client, figures: CodeFigures) -> None:
    """More containers than interpreters: each is used once, then each once more."""
    containers = []
    for number in range(figures.effort.containers):
        took, container, _ = await client.call(f"x = {number}")
        figures.in_turn.append(took)
        containers.append(container)
    for number, container in enumerate(containers):
        took, _, text = await client.call("x", container)
        figures.again.append(took)
        figures.forgotten += text != f"{number}\n"


async def code_calls(effort: Effort) -> list[CodeFigures]:
    """Of each backend that is installed."""
    found = []
    for backend in BACKENDS:
        with bare_sandbox(backend, FOLDER) as sandbox:
            health = sandbox.probe()
        if not health.usable:
            print(f"code in {backend}: {'; '.join(health.missing)}", file=sys.stderr)
            continue
        print(f"code in {backend}", file=sys.stderr)
        found.append(await measure(backend, FOLDER, effort))
    return found
