"""Code through ``serve``, as a newcomer meets it: in the tool host, and in a worker of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]  # it has no stubs
import pytest
import redis

from apps.tools.code_interpreter import ledger
from apps.tools.code_interpreter.sandboxes.pyodide.install import install
from apps.tools.code_interpreter.sandboxes.pyodide.installation import Installation
from tests import markdown
from tests.management.gateway_command import Serve, all_gone, environment
from tests.programs import ROOT, eventually

FOLDER = Path(os.environ.get("GATEWAY_TEST_SANDBOX_DIR", ROOT / "var/test-sandbox"))
README = ROOT / "README.md"


def readme_blocks() -> tuple[str, str]:
    """The code of the README that has a number computed, and what it says that this prints."""
    found = markdown.blocks(README)
    at = next(n for n, block in enumerate(found) if "did you just compute" in block.code)
    return found[at].code, found[at + 1].code


@pytest.fixture(params=["tool host", "worker"])
def profile(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The settings of ``serve``, which runs code in its tool host or in a worker beside it."""
    install(Installation(FOLDER / "pyodide"), lambda *progress: None)
    settings = {"GATEWAY_SANDBOX": "pyodide", "GATEWAY_SANDBOX_DIR": str(FOLDER)}
    if request.param == "tool host":
        yield settings
        return
    url = request.getfixturevalue("redis_url")
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter(f"{ledger.PREFIX}*"):
            client.delete(key)
    yield settings | {"REDIS_URL": url, "PYTHONWARNINGS": "ignore"}  # Celery's, of running as root


@pytest.fixture
def serve(profile: dict[str, str], tmp_path: Path) -> Iterator[Serve]:
    with_worker = ["--with-worker"] if "REDIS_URL" in profile else []
    program = Serve(tmp_path / "data", "--demo", *with_worker, **profile)
    yield program
    program.close()


def node(serve: Serve) -> dict[str, Any]:
    """The one node that runs code, as ``/ready`` tells of it."""

    def told() -> Any:
        return httpx.get(f"{serve.url}/ready", timeout=30).json()["code_interpreter"]

    eventually(lambda: isinstance(told(), list), what="a node is there")
    (found,) = told()
    assert isinstance(found, dict)
    return found


def run_readme(url: str) -> str:
    code = readme_blocks()[0].replace("http://127.0.0.1:5969", url)
    head = f"from openai import OpenAI\nclient = OpenAI(base_url='{url}/v1', api_key='any')\n"
    done = subprocess.run(
        [sys.executable, "-c", head + code],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_code_of_the_readme_runs_and_operators_see_where(
    serve: Serve, profile: dict[str, str], tmp_path: Path
) -> None:
    before = node(serve)
    assert (before["backend"], before["usable"]) == ("pyodide", True)
    assert {"deno permissions", "webassembly"} <= set(before["layers"])
    assert (before["warm"], before["busy"], before["queued"], before["queue_age"]) == (0, 0, 0, 0.0)

    assert run_readme(serve.url) == readme_blocks()[1]

    eventually(lambda: node(serve)["warm"] == 1, what="the container's interpreter is told")
    doctor = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--upstream", "http://127.0.0.1:1"],
        cwd=ROOT, env=environment(tmp_path / "data", **profile), capture_output=True, text=True,
        check=False,
    ).stdout  # fmt: skip
    (line,) = [line for line in doctor.splitlines() if " code " in line]
    assert line.startswith("ok"), doctor
    assert "1 warm and 0 busy of 8" in line
    assert "0 waiting" in line

    children = serve.children()
    assert any(is_deno(child) for child in children)
    serve.signal(signal.SIGTERM)
    assert serve.wait() == 0
    all_gone(children)


def is_deno(process: psutil.Process) -> bool:
    return "deno" in process.name()


def test_where_it_says_that_it_is_ready_code_can_run(serve: Serve) -> None:
    told = httpx.get(f"{serve.url}/ready", timeout=30).json()["code_interpreter"]
    assert isinstance(told, list), told


def test_an_interpreter_does_not_outlive_a_serve_that_was_killed(serve: Serve) -> None:
    node(serve)
    eventually(lambda: any(map(is_deno, serve.children())), what="the spare")
    children = serve.children()
    serve.signal(signal.SIGKILL)
    serve.wait()
    all_gone(children)
