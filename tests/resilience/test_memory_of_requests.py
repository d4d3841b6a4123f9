"""Large requests that are refused or end badly: nothing of them stays in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from tests.gateway import Gateway, sqlite_database
from tests.programs import eventually
from tests.resilience.streams import Stream
from tests.scripted_vllm import ScriptedVLLM, pause, raw, text

LARGE = 4_000_000
REFUSED = 40
"""Fewer than any after which Python's garbage collector would come by itself."""


@pytest.fixture
def gateway(vllm: ScriptedVLLM, tmp_path: Path) -> Iterator[Gateway]:
    running = Gateway(sqlite_database(tmp_path), tmp_path, upstream=vllm.url)
    yield running
    running.close()


def image(data: str) -> dict[str, str]:
    return {"type": "input_image", "image_url": f"data:image/png;base64,{data}"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"background": True},
        {"previous_response_id": "resp_0"},
        {"input": [{"role": "user", "content": [image("AAAA" * (LARGE // 4))]}]},
    ],
    ids=["parameter", "history", "image"],
)
def test_large_requests_that_are_refused_leave_no_memory_behind(
    gateway: Gateway, wrong: dict[str, Any]
) -> None:
    body = {"model": "tiny", "input": "x" * LARGE, **wrong}
    process = psutil.Process(gateway.program.process.pid)

    def refuse(times: int) -> None:
        for _ in range(times):
            assert gateway.http.post("/v1/responses", json=body).status_code == 400

    refuse(3)
    limit = process.memory_info().rss + REFUSED * LARGE / 4
    refuse(REFUSED)
    eventually(lambda: process.memory_info().rss < limit, what="they are forgotten")


@pytest.mark.parametrize("leaves", [False, True], ids=["the upstream breaks", "the client leaves"])
def test_streams_that_end_badly_leave_no_memory_behind(
    gateway: Gateway, vllm: ScriptedVLLM, leaves: bool
) -> None:
    process = psutil.Process(gateway.program.process.pid)
    reply = text("A") + (pause(threading.Event()) if leaves else raw(b"data: no JSON\n\n"))

    def stream(times: int) -> None:
        for _ in range(times):
            vllm.script(reply)
            asked = Stream(gateway, input="x" * LARGE)
            if leaves:
                asked.until("response.output_text.delta")
                asked.leave()
            else:
                assert asked.end()["status"] == "failed"

    stream(3)
    limit = process.memory_info().rss + REFUSED * LARGE / 4
    stream(REFUSED)
    eventually(lambda: process.memory_info().rss < limit, what="they are forgotten")
