"""Every limit holds, and what goes over it ends as little as possible."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_django import Settings

from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.configuration import sandbox_limits
from apps.tools.code_interpreter.sandboxes import child, session
from tests.programs import eventually

from .conftest import LIMITS, Interpreter, Outcome

Start = Callable[..., Interpreter]


@pytest.mark.parametrize(
    "code",
    [
        "while True:\n    pass",
        "import time; time.sleep(1000)",
        "import asyncio; await asyncio.sleep(1000)",
        "import re; re.match(r'(a+)+$', 'a' * 60 + 'b')",
        "n = 3\nfor _ in range(10 ** 9):\n    n = (n * n) % (1 << 100_000)",
    ],
    ids=["loop", "sleep", "await", "regex", "numbers"],
)
def test_a_call_over_its_time_is_interrupted_and_state_is_kept(start: Start, code: str) -> None:
    python = start(dataclasses.replace(LIMITS, wall_s=1))
    python.run("kept = 'kept'")
    outcome = python.run(code)
    assert (outcome.done.status, outcome.done.state_lost) == ("timeout", False)
    assert outcome.error.name == "KeyboardInterrupt"
    assert python.run("kept").value == "'kept'"


@pytest.mark.parametrize(
    "text",
    ["while True:\n            pass", "raise SystemExit", "raise KeyboardInterrupt", "return 1"],
    ids=["loops", "exits", "interrupts", "is none"],
)
def test_what_an_exception_does_when_it_is_told_of_costs_no_state(start: Start, text: str) -> None:
    python = start(dataclasses.replace(LIMITS, wall_s=2))
    python.run("kept = 'kept'")
    outcome = python.run(
        f"class Odd(Exception):\n    def __str__(self):\n        {text}\nraise Odd('odd')"
    )
    assert (outcome.error.name, outcome.done.state_lost) == ("Odd", False)
    assert "Odd" in outcome.error.traceback
    assert python.run("kept").value == "'kept'"


@pytest.mark.parametrize("base", ["SystemExit", "ModuleNotFoundError", "MemoryError"])
def test_an_exception_that_is_odd_in_every_way_costs_no_state(start: Start, base: str) -> None:
    python = start(dataclasses.replace(LIMITS, wall_s=2))
    python.run("kept = 'kept'")
    outcome = python.run(
        "class Code:\n    def __eq__(self, other):\n        raise RuntimeError\n"
        f"class Odd({base}):\n    name = property(lambda self: 1 / 0)\n"
        "    __notes__ = property(lambda self: 1 / 0)\nraise Odd(Code())"
    )
    assert (outcome.error.name, outcome.done.state_lost) == ("Odd", False)
    assert python.run("kept").value == "'kept'"


def test_who_ignores_the_interrupt_is_killed(start: Start) -> None:
    python = start(dataclasses.replace(LIMITS, wall_s=0.5, grace_s=0.5))
    outcome = python.run(
        "while True:\n    try:\n        while True:\n            pass\n"
        "    except BaseException:\n        pass"
    )
    assert (outcome.done.status, outcome.done.state_lost) == ("timeout", True)
    assert python.session.state == "dead"
    with pytest.raises(sb.SessionDead):
        python.run("1")


def test_a_call_can_be_interrupted_by_another_thread(start: Start) -> None:
    python = start()
    events: list[sb.Event] = []
    for event in python.session.execute("print('on')\nwhile True:\n    pass", "call"):
        if isinstance(event, sb.Stdout):
            threading.Thread(target=python.session.interrupt).start()
        events.append(event)
    assert isinstance(events[-1], sb.Done)
    assert (events[-1].status, events[-1].state_lost) == ("cancelled", False)
    python.session.interrupt()  # between cells: nothing happens
    assert python.run("1 + 1").value == "2"


@pytest.mark.parametrize(
    "code",
    [
        "while True:\n    pass",
        "import time\nwhile True:\n    time.sleep(0.1)",
        "import asyncio\nawait asyncio.sleep(1000)",
        "import asyncio\nwhile True:\n    await asyncio.sleep(0)",
        "while True:\n    print('y' * 100)",
        "for n in range(500):\n    open(f'{n % 5}', 'w').write('z')",
    ],
    ids=["loop", "sleep", "await", "spin", "print", "files"],
)
def test_interrupts_that_come_late_or_in_swarms_hurt_nothing(
    start: Start, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """They are asked for as fast as can be, until the interpreter has said that the cell is done."""
    monkeypatch.setattr(session, "ASK_EVERY", 0.0)
    monkeypatch.setattr(child, "SLICE", 0.001)
    python = start()
    python.run("kept = 'kept'")
    for delay in range(20):
        timer = threading.Timer(delay / 500, python.session.interrupt)
        outcome = Outcome()
        for event in python.session.execute(code, f"late_{delay}"):
            if isinstance(event, sb.Started):
                timer.start()
            outcome.events.append(event)
        timer.join()
        assert (outcome.done.status, outcome.done.state_lost) in {
            ("cancelled", False),
            ("ok", False),
        }, outcome.events
        after = python.run(f"open('after', 'w').write('{delay:3}'); kept")
        assert after.value == "'kept'", after.events
        assert after.files == {"after": 3}


def test_leaving_the_events_stops_the_cell(start: Start) -> None:
    python = start()
    events = python.session.execute("kept = 1\nprint('on')\nwhile True:\n    pass", "call")
    assert next(events) == sb.Started()
    assert next(events) == sb.Stdout("on\n")
    events.close()  # type: ignore[attr-defined]
    assert python.session.state == "ready"
    assert python.run("kept").value == "1"


def test_closing_ends_a_running_cell(start: Start) -> None:
    python = start()
    events = []
    for event in python.session.execute("print('on')\nwhile True:\n    pass", "call"):
        if isinstance(event, sb.Stdout):
            python.session.close()
        events.append(event)
    assert isinstance(events[-1], sb.Done)
    assert events[-1].state_lost
    python.session.close()


def test_output_comes_while_the_cell_runs(start: Start) -> None:
    python = start()
    events = python.session.execute("print('early')\nwhile True:\n    pass", "call")
    assert [next(events), next(events)] == [sb.Started(), sb.Stdout("early\n")]
    python.session.interrupt()
    assert isinstance(list(events)[-1], sb.Done)


def test_output_is_cut_and_said_so(start: Start) -> None:
    python = start(dataclasses.replace(LIMITS, output_bytes=10_000))
    outcome = python.run("print('x' * 30_000)\n'é' * 10")
    assert outcome.out == "x" * 10_000
    assert outcome.truncated["output"] == 30_000 + 1 + 22 - 10_000
    assert outcome.done.status == "ok"
    assert python.run("print('again')").out == "again\n"


def test_endless_output_is_ended(start: Start) -> None:
    python = start(dataclasses.replace(LIMITS, output_bytes=10_000))
    outcome = python.run("kept = 1\nwhile True:\n    print('y' * 1000)")
    assert (outcome.done.status, outcome.done.state_lost) == ("error", False)
    assert len(outcome.out) == 10_000
    assert python.run("kept").value == "1"


def test_all_that_is_said_of_an_exception_counts_as_output(start: Start) -> None:
    python = start(dataclasses.replace(LIMITS, output_bytes=1000))
    outcome = python.run("raise ValueError('x' * 15_000)")
    assert len(outcome.error.traceback) + len(outcome.error.value) <= 8192
    assert outcome.truncated["output"] > 15_000 - 8192
    assert python.run("raise ValueError('again')").error.value == "again"


def test_an_exception_is_told_of_whatever_was_put_out_before(start: Start) -> None:
    python = start(dataclasses.replace(LIMITS, output_bytes=10_000))
    for text in ("'x' * 30_000", "'x\\n' * 30_000"):
        outcome = python.run(f"print({text})\n1 / 0")
        assert len(outcome.out) == 10_000
        assert outcome.error.traceback.endswith("ZeroDivisionError: division by zero")
    outcome = python.run(
        "for n in range(30_000):\n    print()\n    print(end='', flush=True)\n1 / 0"
    )
    assert outcome.error.name == "ZeroDivisionError"


def test_output_in_countless_pieces_is_cut_and_said_so(start: Start) -> None:
    python = start()
    outcome = python.run("for _ in range(10_500):\n    display(7)\n'last'")
    assert outcome.done.status == "ok"
    assert len([e for e in outcome.events if isinstance(e, sb.Result)]) == 10_000
    assert outcome.truncated == {"output": 500 + len("'last'")}
    assert python.run("'again'").value == "'again'"


def test_images_have_a_limit(start: Start) -> None:
    python = start(dataclasses.replace(LIMITS, display_bytes=2000))
    outcome = python.run(
        "class P:\n    def _repr_png_(self):\n        return b'\\x89PNG\\r\\n\\x1a\\n' + bytes(1200)\n"
        "display(P(), P())"
    )
    assert len(outcome.images) == 1
    assert outcome.truncated == {"display": 1208}


def test_memory_is_an_error_that_code_can_handle(start: Start) -> None:
    python = start()
    outcome = python.run("kept = 1\nbig = bytearray(1 << 30)")
    assert (outcome.error.name, outcome.done.state_lost) == ("MemoryError", False)
    assert python.run("kept").value == "1"


def test_a_container_has_the_memory_that_it_asked_for(
    start: Start, settings: Settings, sandbox: sb.Sandbox
) -> None:
    settings.GATEWAY_SANDBOX = sandbox.name
    code = "len(bytearray(700 << 20)) >> 20"
    assert start(sandbox_limits()).run(code).error.name == "MemoryError"
    assert start(sandbox_limits("1g")).run(code).value == "700"


def test_a_memory_bomb_costs_the_session_and_nothing_else(start: Start) -> None:
    python = start(dataclasses.replace(LIMITS, rss_mb=500))
    outcome = python.run("hoard = []\nwhile True:\n    hoard.append(bytearray(100_000))")
    assert outcome.done.status in ("oom", "error")
    if not outcome.done.state_lost:
        python.run("hoard.clear()")
        assert python.run("1").value == "1"


def test_a_heap_of_small_objects_is_out_of_memory(start: Start) -> None:
    python = start(dataclasses.replace(LIMITS, memory_mb=100, rss_mb=600))
    outcome = python.run("hoard = []\nwhile True:\n    hoard.append([0, 1, len(hoard)])")
    assert outcome.done.status in ("oom", "error")


def test_tasks_left_behind_may_not_burn_for_ever(start: Start) -> None:
    python = start(dataclasses.replace(LIMITS, idle_cpu_s=0.5))
    python.run(
        "import asyncio, threading\n"
        "async def burn():\n    while True:\n        await asyncio.sleep(0)\n"
        "def spin():\n    while True:\n        pass\n"
        "try:\n    threading.Thread(target=spin, daemon=True).start()\n"
        "except RuntimeError:\n    task = asyncio.ensure_future(burn())"
    )
    eventually(lambda: is_dead(python), what="the watchdog bites")


def is_dead(python: Interpreter) -> bool:
    try:
        python.session.list()
    except sb.SessionDead:
        return True
    return False


def test_recursion_is_an_error(start: Start) -> None:
    python = start()
    assert python.run("def f():\n    f()\nf()").error.name == "RecursionError"
    assert python.run("1").value == "1"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other kernels have other means")
def test_when_memory_runs_out_the_kernel_takes_interpreters_before_their_host(
    python: Interpreter,
) -> None:
    def score(pid: int | str) -> int:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    assert python.session.pid is not None
    assert score(python.session.pid) == 1000 >= score("self")
