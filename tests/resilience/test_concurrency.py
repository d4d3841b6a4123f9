"""Many streams at once against one process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from tests.event_streams import check_stream
from tests.gateway import Database, Gateway
from tests.resilience.streams import Json, question
from tests.scripted_vllm import ScriptedVLLM, text

STREAMS = 100
TOKENS = 20

# One thread for the loop, the database's, those of the standard library's own executor, which
# looks host names up, and those of PostgreSQL's connection pool.
THREADS = 1 + 8 + 6 + 5


@pytest.fixture
def fresh_gateway(database: Database, vllm: ScriptedVLLM, tmp_path: Path) -> Iterator[Gateway]:
    """One whose threads are of this test's making: one that served images and files has more."""
    running = Gateway(database, tmp_path, upstream=vllm.url)
    yield running
    running.close()


async def stream(client: httpx.AsyncClient) -> list[Json]:
    answer = await client.post("/v1/responses", json=question(stream=True))
    assert answer.status_code == 200, answer.text
    lines = answer.text.splitlines()
    assert "data: [DONE]" in lines
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


async def at_once(url: str, process: psutil.Process) -> tuple[list[list[Json]], int]:
    """All streams, and the most threads that were seen meanwhile."""
    limits = httpx.Limits(max_connections=None)
    most = 0
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        tasks = [asyncio.create_task(stream(client)) for _ in range(STREAMS)]
        waiting: set[asyncio.Task[list[Json]]] = set(tasks)
        while waiting:
            most = max(most, process.num_threads())
            _, waiting = await asyncio.wait(waiting, timeout=0.05)
    return [task.result() for task in tasks], most


def test_a_hundred_streams_at_once_all_complete(fresh_gateway: Gateway, vllm: ScriptedVLLM) -> None:
    vllm.script(*[text(*["word "] * TOKENS, delay=0.02)] * STREAMS)
    process = psutil.Process(fresh_gateway.program.process.pid)
    streams, threads = asyncio.run(at_once(fresh_gateway.url, process))
    ids = set()
    for events in streams:
        check_stream(events)
        response = events[-1]["response"]
        assert response["status"] == "completed"
        assert response["output"][0]["content"][0]["text"] == "word " * TOKENS
        ids.add(response["id"])
    assert len(ids) == STREAMS
    assert threads <= THREADS
    rows = fresh_gateway.database.query("SELECT id, status FROM store_response")
    assert {status for id_, status in rows if id_ in ids} == {"completed"}
    assert ids <= {id_ for id_, _ in rows}
