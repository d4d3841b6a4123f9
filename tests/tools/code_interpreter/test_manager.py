"""The interpreters of a node: turns, room, leaving and coming back, files."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from apps.tools.code_interpreter import places
from apps.tools.code_interpreter import sandbox as sb
from apps.tools.code_interpreter.calls import Call, Failed, FileSaved, NodeEvent, Note
from apps.tools.code_interpreter.manager import RESTARTED, SessionManager
from apps.tools.code_interpreter.places import Capacity
from tests.programs import Program, eventually
from tests.scripted_sandbox import ScriptedSandbox
from tests.tools.code_interpreter.nodes import Running, Shelf

ids = count()
SMALL = sb.Limits(memory_mb=20, rss_mb=100)
SIXTY_MB = "import time; held = b'x' * (60 << 20); print('grown', flush=True); time.sleep(600)"


def call(container: str, code: str, **values: Any) -> Call:
    return Call(id=f"ci_{next(ids)}", container_id=container, code=code, **values)


class Node:
    """A manager over a scripted sandbox."""

    def __init__(self, folder: Path, **capacity: Any) -> None:
        self.sandbox, self.shelf = ScriptedSandbox(), Shelf()
        self.manager = SessionManager(
            self.sandbox, Capacity(**capacity), snapshots=folder / "snapshots"
        )

    def run(self, container: str, code: str, **values: Any) -> list[NodeEvent]:
        values.setdefault("files", self.shelf.files)
        return list(self.manager.run(call(container, code, **values), self.shelf))

    def start(self, container: str, code: str, **values: Any) -> tuple[Call, Running]:
        made = call(container, code, **values)
        return made, Running(self.manager, made, self.shelf)

    def queued(self, number: int) -> None:
        eventually(lambda: self.manager.status()["queued"] == number)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    made: list[Node] = []

    def make(**capacity: Any) -> Node:
        made.append(Node(tmp_path / str(len(made)), **capacity))
        return made[-1]

    yield make
    for each in made:
        each.manager.close()


def out(events: list[NodeEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, sb.Stdout))


def notes(events: list[NodeEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Note)]


def test_variables_last_from_call_to_call_and_belong_to_the_container(
    node: Callable[..., Node],
) -> None:
    here = node()
    here.run("a", "x = 1")
    here.run("b", "x = 2")
    events = here.run("a", "print(x)", stateful=True)
    assert out(events) == "1\n"
    assert isinstance(events[0], sb.Started)
    assert events[-1] == sb.Done(status="ok", ms=events[-1].ms)  # type: ignore[union-attr]


def test_calls_of_one_container_run_in_the_order_in_which_they_came(
    node: Callable[..., Node],
) -> None:
    here = node()
    first, running = here.start("a", "wait()")
    running.saw(sb.Started)
    others = []
    for number in range(5):
        others.append(here.start("a", f"seen = [*globals().get('seen', []), {number}]")[1])
        here.queued(number + 1)
    here.manager.interrupt(first.id)
    for other in others:
        other.end()
    assert out(here.run("a", "print(seen)", stateful=True)) == "[0, 1, 2, 3, 4]\n"
    assert running.end() == sb.Done(status="cancelled", ms=running.end().ms)  # type: ignore[union-attr]


def test_containers_do_not_wait_for_one_another_while_there_is_room(
    node: Callable[..., Node],
) -> None:
    here = node(sessions=2)
    _, busy = here.start("a", "wait()")
    busy.saw(sb.Started)
    assert out(here.run("b", "print(1)")) == "1\n"


def test_the_interpreter_that_was_idle_longest_makes_room_and_its_variables_come_back(
    node: Callable[..., Node],
) -> None:
    here = node(sessions=2)
    here.run("a", "x = 'of a'")
    here.run("b", "y = 'of b'")
    here.run("c", "pass")
    assert [session.state for session in here.sandbox.sessions] == ["dead", "ready", "ready"]
    events = here.run("a", "print(x)", stateful=True)
    assert out(events) == "of a\n"
    assert notes(events) == []


def test_where_variables_cannot_be_kept_the_model_is_told_in_one_line(
    node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.scripted_sandbox.ScriptedSession.snapshot", lambda _: None)
    here = node(sessions=1)
    here.run("a", "x = 1")
    here.run("b", "pass")
    events = here.run("a", "print('x' in globals())", stateful=True)
    assert out(events) == "False\n"
    assert notes(events) == [RESTARTED]
    assert notes(here.run("a", "pass", stateful=True)) == []


def test_an_idle_interpreter_leaves_and_its_container_stays(node: Callable[..., Node]) -> None:
    here = node(idle_s=0, container_s=3600)
    here.run("a", "x = 1")
    here.manager.sweep()
    assert here.manager.status()["warm"] == 0
    assert out(here.run("a", "print(x)", stateful=True)) == "1\n"


def test_a_container_that_is_idle_for_longer_is_forgotten(node: Callable[..., Node]) -> None:
    here = node(idle_s=0, container_s=0)
    here.run("a", "x = 1")
    here.manager.sweep()
    here.manager.sweep()
    assert notes(here.run("a", "pass", stateful=True)) == [RESTARTED]


def test_what_finds_no_room_waits_and_then_runs(node: Callable[..., Node]) -> None:
    here = node(sessions=1)
    first, busy = here.start("a", "wait()")
    busy.saw(sb.Started)
    _, waiting = here.start("b", "print('my turn')")
    here.queued(1)
    here.manager.interrupt(first.id)
    waiting.end()
    assert out(waiting.events) == "my turn\n"


def test_a_full_queue_and_a_long_wait_have_a_clear_end(node: Callable[..., Node]) -> None:
    here = node(sessions=1, queue=1, queue_s=0.2)
    _, busy = here.start("a", "wait()")
    busy.saw(sb.Started)
    _, waiting = here.start("b", "1")
    here.queued(1)
    (refused,) = here.run("c", "1")
    assert isinstance(refused, Failed)
    assert refused.kind == "busy"
    assert waiting.end() == Failed("busy", "All code interpreters are in use.")
    assert [code for _, code in here.sandbox.cells] == ["wait()"]


def test_calls_of_one_container_do_not_fill_the_queue(node: Callable[..., Node]) -> None:
    here = node(sessions=2, queue=4)
    first, busy = here.start("a", "wait()")
    busy.saw(sb.Started)
    waiting = []
    for number in range(2):
        waiting.append(here.start("a", "1")[1])
        here.queued(number + 1)
    (refused,) = here.run("a", "1")
    assert isinstance(refused, Failed)
    assert refused.kind == "busy"
    _, other = here.start("b", "wait()")
    other.saw(sb.Started)
    _, third = here.start("c", "1")
    here.queued(3)
    here.manager.interrupt(first.id)
    for running in (*waiting, third):
        assert isinstance(running.end(), sb.Done)


def test_without_a_queue_what_finds_room_runs_and_the_rest_is_refused(
    node: Callable[..., Node],
) -> None:
    here = node(sessions=1, queue=0)
    assert out(here.run("a", "print(1)")) == "1\n"
    assert out(here.run("b", "print(2)")) == "2\n"
    _, busy = here.start("b", "wait()")
    busy.saw(sb.Started)
    (refused,) = here.run("a", "1")
    assert isinstance(refused, Failed)
    assert refused.kind == "busy"


def test_the_memory_budget_limits_what_lives_at_a_time(node: Callable[..., Node]) -> None:
    here = node(sessions=10, memory_mb=600)
    for container in "abc":
        here.run(container, "pass")
    assert here.manager.status()["warm"] == 2


@pytest.fixture
def sixty_mb() -> Iterator[int]:
    """The id of a process that holds so much."""
    program = Program([sys.executable, "-c", SIXTY_MB])
    program.line("grown")
    yield program.process.pid
    program.close()
    program.wait()


def test_interpreters_that_grow_over_the_budget_make_the_idlest_of_them_leave(
    node: Callable[..., Node], sixty_mb: int
) -> None:
    here = node(sessions=10, memory_mb=150)
    for container in "abc":
        here.run(container, f"x = 'of {container}'", limits=SMALL)
    first, busy = here.start("a", "wait()", limits=SMALL)
    busy.saw(sb.Started)
    here.manager.sweep()
    assert here.manager.status()["warm"] == 2
    for session in here.sandbox.sessions:
        session.pid = sixty_mb
    here.manager.sweep()
    assert [session.state for session in here.sandbox.sessions] == ["busy", "dead", "ready"]
    here.manager.interrupt(first.id)
    busy.end()
    assert out(here.run("b", "print(x)", stateful=True, limits=SMALL)) == "of b\n"


def fill(here: Node, sixty_mb: int) -> None:
    """An interpreter that held so much has left, and one of another container holds so much."""
    here.run("a", "x = 1", limits=SMALL)
    here.sandbox.sessions[0].pid = sixty_mb
    here.manager.sweep()
    here.run("b", "pass", limits=SMALL)
    here.sandbox.sessions[1].pid = sixty_mb


def test_an_interpreter_that_comes_back_needs_as_much_room_as_it_held(
    node: Callable[..., Node], sixty_mb: int
) -> None:
    here = node(sessions=10, memory_mb=100, idle_s=0)
    fill(here, sixty_mb)
    assert out(here.run("a", "print(x)", stateful=True, limits=SMALL)) == "1\n"
    assert here.sandbox.sessions[1].state == "dead"


def test_what_was_written_down_before_another_node_had_the_container_needs_no_room(
    node: Callable[..., Node], sixty_mb: int
) -> None:
    here = node(sessions=10, memory_mb=100, idle_s=0)
    fill(here, sixty_mb)
    assert notes(here.run("a", "1", stateful=True, limits=SMALL, epoch=2)) == [RESTARTED]
    assert here.sandbox.sessions[1].state == "ready"


def test_one_that_was_not_written_down_comes_back_as_small_as_a_new_one(
    node: Callable[..., Node], sixty_mb: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places, "SNAPSHOT_MB", 10)
    here = node(sessions=10, memory_mb=100, idle_s=0)
    fill(here, sixty_mb)
    assert notes(here.run("a", "pass", stateful=True, limits=SMALL)) == [RESTARTED]
    assert here.sandbox.sessions[1].state == "ready"


def test_over_the_budget_nobody_leaves_where_that_would_not_help(
    node: Callable[..., Node], sixty_mb: int
) -> None:
    here = node(sessions=10, memory_mb=50)
    here.run("a", "x = 1", limits=SMALL)
    here.sandbox.sessions[0].pid = sixty_mb
    here.manager.sweep()
    assert here.sandbox.sessions[0].state == "ready", "it is alone"
    here.sandbox.sessions[0].pid = None
    here.run("b", "pass", limits=SMALL)
    here.sandbox.sessions[0].pid = sixty_mb
    first, busy = here.start("a", "wait()", limits=SMALL)
    busy.saw(sb.Started)
    here.manager.sweep()
    assert here.sandbox.sessions[1].state == "ready", "the busy one holds too much already"
    here.manager.interrupt(first.id)
    busy.end()


def test_a_container_with_more_memory_counts_for_more(node: Callable[..., Node]) -> None:
    here = node(sessions=10, memory_mb=1100)
    for container in "abc":
        here.run(container, "pass")
    here.run("large", "pass", limits=sb.Limits(memory_mb=1024, rss_mb=1400))
    assert here.manager.status()["warm"] == 3, "one of the others has made room"


def test_a_call_that_waits_can_be_cancelled(node: Callable[..., Node]) -> None:
    here = node(sessions=1)
    _, busy = here.start("a", "wait()")
    busy.saw(sb.Started)
    waiting, running = here.start("b", "1")
    here.queued(1)
    here.manager.interrupt(waiting.id)
    assert running.end() == sb.Done(status="cancelled", ms=0)
    assert len(here.sandbox.cells) == 1


def test_a_call_whose_interpreter_is_slow_to_start_can_be_cancelled(
    node: Callable[..., Node],
) -> None:
    here = node(sessions=1)
    here.sandbox.slow = True
    starting, running = here.start("a", "1")
    eventually(lambda: here.manager.status()["busy"] == 1)
    here.manager.interrupt(starting.id)
    assert running.end() == sb.Done(status="cancelled", ms=0)
    here.sandbox.slow = False
    assert out(here.run("b", "print(1)")) == "1\n"


def test_an_interrupt_keeps_the_variables(node: Callable[..., Node]) -> None:
    here = node()
    stopped, running = here.start("a", "x = 1\nwait()")
    running.saw(sb.Started)
    here.manager.interrupt(stopped.id)
    end = running.end()
    assert isinstance(end, sb.Done)
    assert (end.status, end.state_lost) == ("cancelled", False)
    assert out(here.run("a", "print(x)", stateful=True)) == "1\n"


def test_closing_the_iterator_stops_the_code_and_frees_the_place(
    node: Callable[..., Node],
) -> None:
    here = node()
    events = here.manager.run(call("a", "print(1)"), here.shelf)
    assert isinstance(next(events), sb.Started)
    events.close()
    assert out(here.run("a", "print(2)")) == "2\n"


def test_a_dead_interpreter_is_replaced_and_files_survive(node: Callable[..., Node]) -> None:
    here = node()
    here.run("a", "x = 1\nwrite('kept.txt', b'kept')")
    end = here.run("a", "die()", stateful=True)[-1]
    assert isinstance(end, sb.Done)
    assert end.state_lost
    events = here.run("a", "print(read('kept.txt'), 'x' in globals())", stateful=True)
    assert out(events) == "b'kept' False\n"
    assert notes(events) == [], "the end of the call before has told it"


def test_an_interpreter_that_died_while_it_was_idle_is_replaced_before_the_code_runs(
    node: Callable[..., Node],
) -> None:
    here = node()
    here.run("a", "x = 1")
    here.sandbox.sessions[0].close()
    events = here.run("a", "print(2)", stateful=True)
    assert (notes(events), out(events)) == ([RESTARTED], "2\n")
    assert len(here.sandbox.cells) == 2


def test_files_are_put_once_replaced_when_they_change_and_removed_when_they_are_deleted(
    node: Callable[..., Node],
) -> None:
    here = node()
    first = here.shelf.add("data.csv", b"1")
    assert out(here.run("a", "print(read('data.csv'))")) == "b'1'\n"
    here.run("a", "pass")
    assert here.shelf.fetched == ["data.csv"]
    second = here.shelf.add("data.csv", b"2")
    assert first.id != second.id
    assert out(here.run("a", "print(read('data.csv'))")) == "b'2'\n"
    events = here.run("a", "print(read('data.csv'))", files=())
    assert isinstance(events[-2], sb.Error)


def test_what_code_writes_is_saved_before_the_end_is_told(node: Callable[..., Node]) -> None:
    here = node()
    events = here.run("a", "write('plot.png', b'png')\nprint('done')")
    assert events[-2] == FileSaved("cfile_0", "plot.png", 3, "0")
    here.run("a", "print(read('plot.png'))")
    assert here.shelf.fetched == []


def test_a_file_that_cannot_be_kept_or_brought_is_told(node: Callable[..., Node]) -> None:
    here = node()
    here.shelf.refuse = "the container is full"
    assert notes(here.run("a", "write('x', b'x')")) == [
        "x could not be kept: the container is full"
    ]
    lost = here.shelf.add("gone", b"")
    del here.shelf.contents[lost.id]
    assert notes(here.run("a", "pass")) == ["gone is missing: it was deleted"]


def test_a_call_for_an_earlier_holder_is_refused_and_a_later_one_begins_anew(
    node: Callable[..., Node],
) -> None:
    here = node()
    here.run("a", "x = 1", epoch=1)
    events = here.run("a", "print('x' in globals())", epoch=2, stateful=True)
    assert (notes(events), out(events)) == ([RESTARTED], "False\n")
    (refused,) = here.run("a", "x = 2", epoch=1)
    assert isinstance(refused, Failed)
    assert refused.kind == "stale"
    assert len(here.sandbox.cells) == 2


def test_discarding_kills_what_runs_and_forgets_the_rest(node: Callable[..., Node]) -> None:
    here = node()
    _, running = here.start("a", "wait()")
    running.saw(sb.Started)
    here.manager.discard("a")
    assert isinstance(running.end(), sb.Done)
    here.run("b", "x = 1")
    here.manager.discard("b")
    assert notes(here.run("b", "pass", stateful=True)) == [RESTARTED]


def test_a_sandbox_that_cannot_start_says_why_and_the_place_is_free_again(
    node: Callable[..., Node],
) -> None:
    here = node(sessions=1)
    here.sandbox.refuse = "Run `manage.py sandbox install`."
    assert here.run("a", "1") == [Failed("unavailable", "Run `manage.py sandbox install`.")]
    here.sandbox.refuse = None
    assert out(here.run("b", "print(1)")) == "1\n"


def test_variables_outlast_a_sandbox_that_cannot_start_for_a_while(
    node: Callable[..., Node],
) -> None:
    here = node(sessions=1)
    here.run("a", "x = 'of a'")
    here.run("b", "pass")  # a makes room
    here.sandbox.refuse = "No process can be started for code."
    (end,) = here.run("a", "print(x)", stateful=True)
    assert isinstance(end, Failed)
    here.sandbox.refuse = None
    events = here.run("a", "print(x)", stateful=True)
    assert out(events) == "of a\n"
    assert notes(events) == []


def test_closing_ends_what_runs_and_takes_nothing_more(node: Callable[..., Node]) -> None:
    here = node(sessions=1)
    _, running = here.start("a", "wait()")
    running.saw(sb.Started)
    _, waiting = here.start("b", "1")
    here.queued(1)
    here.manager.close()
    assert isinstance(running.end(), sb.Done)
    assert isinstance(waiting.end(), Failed)
    assert isinstance(here.run("c", "1")[0], Failed)


def test_many_containers_take_turns_in_few_interpreters(node: Callable[..., Node]) -> None:
    here = node(sessions=2, queue=100)
    failures: list[list[NodeEvent]] = []

    def use(container: str) -> None:
        for turn in range(3):
            code = "n = globals().get('n', 0) + 1; print(n)"
            events = here.run(container, code, stateful=turn > 0, files=())
            if out(events) != f"{turn + 1}\n":
                failures.append(events)

    threads = [threading.Thread(target=use, args=(f"c{n}",)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert len(here.sandbox.cells) == 30
