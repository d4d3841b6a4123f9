"""What the processes of one ``serve`` count is added up."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import httpx

from apps.api.management.numbers import LOCK, numbers_folder
from tests.management.gateway_command import Serve
from tests.numbers import Numbers
from tests.programs import eventually

BODY = {"model": "demo", "input": "Hi"}


def test_any_process_answers_for_all_and_a_killed_one_takes_nothing_along(tmp_path: Path) -> None:
    program = Serve(tmp_path, "--demo", "--processes", "2")
    try:
        url = program.url
        for _ in range(12):  # each on a connection of its own: both processes get some
            assert httpx.post(f"{url}/v1/responses", json=BODY).status_code == 200
        eventually(lambda: Numbers(url)("runs_total", status="completed") == 12)
        victim = program.servers()[0]
        stream = {**BODY, "input": "Wait 50 seconds", "stream": True}
        with ExitStack() as clients:
            for _ in range(6):
                clients.enter_context(httpx.stream("POST", f"{url}/v1/responses", json=stream))
            eventually(lambda: Numbers(url)("streams_open") == 6)
            victim.send_signal(signal.SIGKILL)
            program.line(f"Server process {victim.pid} was killed")
            eventually(lambda: len(program.servers()) == 2)
            left = Numbers(url)
            assert left("runs_total", status="completed") == 12
            assert left("streams_open") < 6
        eventually(lambda: Numbers(url)("streams_open") == 0)
    finally:
        program.close()


def test_what_a_killed_command_left_is_removed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    hold = (
        "import sys; from pathlib import Path; "
        "from apps.api.management.numbers import numbers_folder\n"
        "with numbers_folder(Path(sys.argv[1])) as folder: print(folder, flush=True); input()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout is not None
    living = Path(other.stdout.readline().strip())
    with numbers_folder(tmp_path) as first:
        assert living.is_dir()
        assert first != living
    assert not first.exists()
    other.kill()
    other.communicate()
    assert living.is_dir()
    with numbers_folder(tmp_path) as second:
        assert {path for path in second.parent.iterdir() if path.name != LOCK} == {second}
