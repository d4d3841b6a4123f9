"""What the process that keeps interpreters does with their snapshots, which are large."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from tests.programs import ROOT

SNAPSHOT = 30 << 20

PROGRAM = """
import os, sys, threading, zlib
from concurrent.futures import ThreadPoolExecutor
from apps.tools.code_interpreter.memory import give_back_large_blocks
from apps.tools.code_interpreter.sandboxes.frames import Decoder, encode

THREADS, SIZE = 8, int(sys.argv[1])
one_at_a_time, everybody, left_behind = threading.Lock(), threading.Barrier(THREADS), []

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def take_and_give_back(_):
    with one_at_a_time:
        decoder = Decoder()
        for start in range(0, len(sent), 1 << 16):
            decoder.feed(sent[start : start + (1 << 16)])
        packed = zlib.compress(decoder.next().body, 1)
        assert len(zlib.decompress(packed)) == SIZE
        left_behind.append(bytes(5000))
    everybody.wait()

give_back_large_blocks()
sent = encode({"kind": "snapshot"}, bytes(SIZE))
before = resident()
with ThreadPoolExecutor(THREADS) as pool:
    list(pool.map(take_and_give_back, range(THREADS)))
    print(resident() - before)
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library has other habits"
)
def test_threads_do_not_keep_the_room_of_snapshots_that_have_passed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(SNAPSHOT)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 2 * SNAPSHOT  # of eight threads together
