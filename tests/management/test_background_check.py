"""What ``serve`` finds out about the models once it is ready, and that it waits for none of it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from pytest_django import Settings

from apps.api.management import background_check
from apps.api.management.background_check import check_models
from apps.api.management.commands import serve
from apps.api.management.supervisor import Plan
from apps.store.errors import StoreUnavailable
from tests.programs import Program
from tests.scripted_vllm import ScriptedVLLM, calls, reasoning, recorded, text

CALLS = calls(("get_weather", {"city": "Paris"}))
THINKS = reasoning("Hm.") + text("42")
FITS = text('{"answer": true}')


@pytest.fixture
def upstream(settings: Settings) -> Iterator[ScriptedVLLM]:
    with ScriptedVLLM() as server:
        settings.GATEWAY_UPSTREAM_URL = server.url
        settings.GATEWAY_UPSTREAM_API_KEY = ""
        yield server


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []

    def remember(models: Any, *, upstream_version: str) -> None:
        found.append((models, upstream_version))

    monkeypatch.setattr(background_check, "remember", remember)
    return found


def said() -> list[str]:
    lines: list[str] = []
    asyncio.run(check_models(lines.append))
    return lines


def test_it_says_what_works_and_remembers_it(upstream: ScriptedVLLM, remembered: list[Any]) -> None:
    upstream.script(CALLS, THINKS, FITS)
    assert said() == ["Model tiny: ok for tools, reasoning, schema, tokenize, images."]
    ((models, version),) = remembered
    assert (list(models), version) == (["tiny"], "0.32.0")


def test_it_says_what_to_do_where_something_is_missing(
    upstream: ScriptedVLLM, remembered: list[Any]
) -> None:
    upstream.script(recorded("bare/tools_auto"), text("42"), FITS)
    works, missing = said()
    assert works == "Model tiny: ok for schema, tokenize, images."
    assert missing.startswith("Model tiny: tools: The model server was started without a tool")
    assert len(remembered) == 1


def test_an_upstream_that_has_gone_meanwhile_is_no_failure(
    settings: Settings, remembered: list[Any]
) -> None:
    settings.GATEWAY_UPSTREAM_URL = "http://127.0.0.1:1"
    (line,) = said()
    assert line.endswith("could not be checked: The model server cannot be reached.")
    assert not remembered


@pytest.mark.parametrize("exc", [StoreUnavailable("locked"), RuntimeError("a bug")])
def test_nothing_that_goes_wrong_ends_the_gateway(
    upstream: ScriptedVLLM, monkeypatch: pytest.MonkeyPatch, exc: Exception
) -> None:
    def remember(models: Any, *, upstream_version: str) -> None:
        raise exc

    monkeypatch.setattr(background_check, "remember", remember)
    upstream.script(CALLS, THINKS, FITS)
    assert not any(line.startswith("Model tiny: ok") for line in said())


@pytest.mark.parametrize("demo", [False, True])
def test_the_demo_is_not_asked(monkeypatch: pytest.MonkeyPatch, demo: bool) -> None:
    afterwards: list[Any] = []

    class Supervisor:
        def __init__(self, *arguments: Any) -> None:
            afterwards.append(arguments[3])

        async def run(self) -> int:
            return 0

    monkeypatch.setattr(serve, "Supervisor", Supervisor)
    command = serve.Command()
    command.terminal = cast(Any, None)
    asyncio.run(command.supervise(cast(Plan, None), "127.0.0.1", 1, demo))
    assert [job is None for job in afterwards] == [demo]


def test_serve_is_ready_before_the_models_have_answered(tmp_path: Path) -> None:
    bare = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GATEWAY_") and name not in {"DATABASE_URL", "REDIS_URL"}
    }
    slow = threading.Event()
    with ScriptedVLLM() as upstream:
        upstream.script(CALLS.but(hang_before_headers=slow), THINKS, FITS)
        program = Program(
            [sys.executable, "manage.py", "serve", "--port", "0", "--upstream", upstream.url],
            env=bare | {"GATEWAY_DATA_DIR": str(tmp_path), "GATEWAY_SANDBOX": "off"},
        )
        try:
            program.line("Ctrl-C stops it.")
            assert "Model tiny" not in program.output
            slow.set()
            program.line("Model tiny: ok for tools, reasoning, schema, tokenize, images.")
            program.signal(signal.SIGTERM)
            assert program.wait() == 0
        finally:
            program.close()
    with sqlite3.connect(tmp_path / "gateway.sqlite3") as database:
        rows = database.execute("SELECT model, capability, works FROM store_capability")
        assert set(rows) == {
            ("tiny", name, 1) for name in ("tools", "reasoning", "schema", "tokenize", "images")
        }
    database.close()
