"""What only the backend `pyodide` has: JavaScript around Python, and snapshots."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import pytest

from apps.tools.code_interpreter import sandbox as sb
from tests.programs import eventually

from .conftest import LIMITS, Interpreter

Start = Callable[..., Interpreter]
pytestmark = pytest.mark.parametrize("sandbox", ["pyodide"], indirect=True)


@pytest.mark.parametrize(
    "code",
    [
        "from js import Deno",
        "from js import fetch",
        "from js import process",
        "from js import eval",
        "from js import globalThis",
        "from pyodide.code import run_js; run_js('Deno.exit()')",
        "import js; js.Object.constructor('return globalThis')()",
        "import pyodide_js; pyodide_js.constructor.constructor('return Deno')()",
    ],
)
def test_javascript_is_out_of_reach(python: Interpreter, code: str) -> None:
    assert python.run(code).done.status != "ok"


def test_c_functions_that_run_javascript_end_the_interpreter(start: Start) -> None:
    python = start()
    done = python.run("import ctypes; ctypes.CDLL(None).emscripten_run_script(b'1')").done
    assert (done.status, done.state_lost) == ("crashed", True)


@pytest.mark.parametrize(
    "code",
    [
        "import pyodide_js\nawait pyodide_js._api.loadBinaryFile('/etc/passwd')",
        "import pyodide_js\nawait pyodide_js.mountNativeFS('/x', '/')",
        "from pyodide.http import pyfetch\nawait pyfetch('http://127.0.0.1/')",
    ],
)
def test_pyodide_s_own_ways_out_are_closed(start: Start, code: str) -> None:
    python = start(dataclasses.replace(LIMITS, wall_s=2))
    assert python.run(code).done.status != "ok"


def test_a_snapshot_brings_the_variables_to_another_process(start: Start) -> None:
    first = start()
    first.run("def f(x):\n    return x + 1\ndata = list(range(1000))")
    snapshot = first.session.snapshot()
    assert snapshot is not None
    assert first.run("f(1)").value == "2"  # it goes on
    second = start(restore=snapshot)
    assert second.run("f(len(data))").value == "1001"
    assert second.run("import time; time.sleep(0.01); print('on')").out == "on\n"


def test_a_snapshot_may_be_larger_than_the_memory_that_python_starts_with(start: Start) -> None:
    first = start()
    first.run("data = bytes(100 << 20)")
    snapshot = first.session.snapshot()
    assert snapshot is not None
    assert len(snapshot) > 100 << 20
    second = start(restore=snapshot)
    assert second.run("len(data)").value == str(100 << 20)
    assert second.run("more = bytes(50 << 20)").done.status == "ok"


def test_a_snapshot_of_another_version_is_refused(start: Start) -> None:
    with pytest.raises(sb.SnapshotRefused):
        start(restore=b"something else")


def test_an_interpreter_that_hangs_is_not_waited_for_long_to_write_it_down(start: Start) -> None:
    python = start()
    python.run("import asyncio; asyncio.get_event_loop().call_later(0.2, list, iter(int, 1))")

    def waited() -> float | None:
        """Seconds, once it hangs."""
        began = time.monotonic()
        try:
            python.session.snapshot()
        except sb.SessionDead:
            return time.monotonic() - began
        return None

    assert eventually(waited, what="it hangs") < 15


def test_hiding_objects_of_javascript_does_not_break_a_snapshot(start: Start) -> None:
    python = start()
    python.run("import js\nhidden = [js.Array.new(3)]")
    python.session.snapshot()  # None, or one that works
    assert python.run("len(hidden)").value == "1"


@pytest.mark.parametrize(
    "grow",
    ["Array.new(100_000).fill(1.5)", "Uint8Array.new(16 << 20).fill(1)"],
    ids=["objects", "buffers"],
)
def test_memory_of_javascript_is_limited_too(start: Start, grow: str) -> None:
    python = start(dataclasses.replace(LIMITS, rss_mb=700))
    outcome = python.run(
        "from js import Array, Uint8Array\nhoard = Array.new()\n"
        f"while True:\n    hoard.push({grow})"
    )
    assert outcome.done.status in ("oom", "crashed", "error")
    assert outcome.done.status != "error" or python.run("1").value == "1"
