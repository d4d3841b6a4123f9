"""Ids are made once."""

from __future__ import annotations

import subprocess
import sys

from apps.api.protocol.ids import new_id
from tests.programs import ROOT

FORKED = """
import os
from apps.api.protocol.ids import new_id
new_id("resp")  # what is random is drawn ahead
child = os.fork()
if child:
    os.waitpid(child, 0)
print(new_id("resp")[17:])
"""


def test_no_id_is_made_twice() -> None:
    assert len({new_id("resp") for _ in range(2000)}) == 2000


def test_processes_that_were_forked_do_not_make_the_same_ids() -> None:
    made = subprocess.run(
        [sys.executable, "-c", FORKED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert len(set(made.stdout.split())) == 2
