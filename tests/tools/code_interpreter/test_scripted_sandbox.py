"""The sandbox in memory keeps the contract that it stands in for."""

from __future__ import annotations

import threading

import pytest

from apps.tools.code_interpreter import sandbox as sb
from tests.scripted_sandbox import ScriptedSandbox


def run(session: sb.Session, code: str) -> list[sb.Event]:
    return list(session.execute(code, "call_1"))


def test_variables_and_files_last_from_cell_to_cell() -> None:
    sandbox: sb.Sandbox = ScriptedSandbox()
    session = sandbox.start("s", sb.Limits())
    run(session, "x = 20; write('a.txt', b'hello')")
    events = run(session, "print(x + 1, read('a.txt'))")
    assert events[0] == sb.Started()
    assert events[1] == sb.Stdout("21 b'hello'\n")
    assert [file.path for file in session.list()] == ["a.txt"]
    restored = sandbox.start("t", sb.Limits(), restore=session.snapshot())
    assert run(restored, "print(x)")[1] == sb.Stdout("20\n")


def test_a_waiting_cell_can_be_interrupted() -> None:
    session = ScriptedSandbox().start("s", sb.Limits())
    events: list[sb.Event] = []
    thread = threading.Thread(target=lambda: events.extend(run(session, "wait()")))
    thread.start()
    session.running.wait(5)
    session.interrupt()
    thread.join(5)
    assert isinstance(events[-1], sb.Done)
    assert events[-1].status == "cancelled"
    assert session.state == "ready"


def test_an_interpreter_that_died_is_dead() -> None:
    session = ScriptedSandbox().start("s", sb.Limits())
    done = run(session, "die()")[-1]
    assert isinstance(done, sb.Done)
    assert (done.status, done.state_lost) == ("crashed", True)
    with pytest.raises(sb.SessionDead):
        run(session, "1")
