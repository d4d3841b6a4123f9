"""What ordinary code does without thinking works, or is an error; it never costs the interpreter."""

from __future__ import annotations

import pytest

from .conftest import Interpreter

HABITS = [
    "import os; os.getuid(), os.getpid(), os.umask(0o22), os.cpu_count(), os.urandom(4)",
    "import getpass; getpass.getuser()",
    "import pathlib; pathlib.Path.home(), pathlib.Path('~').expanduser()",
    "import platform; platform.platform(), platform.node(), platform.python_version()",
    "import tempfile; tempfile.NamedTemporaryFile().name, tempfile.mkdtemp()",
    "import random, secrets, uuid; random.random(), secrets.token_hex(), uuid.uuid4(), uuid.uuid1()",
    "import time, datetime; time.time(), time.localtime(), time.tzset(), datetime.datetime.now()",
    "import locale; locale.setlocale(locale.LC_ALL, ''), locale.getlocale()",
    "import shutil; shutil.get_terminal_size(), shutil.disk_usage('/mnt/data')",
    "import socket; socket.gethostname()",
    "import socket; socket.gethostbyname('example.org')",
    "import urllib.request; urllib.request.urlopen('https://example.org', timeout=1)",
    "import subprocess; subprocess.check_output(['ls', '-l'])",
    "import multiprocessing; multiprocessing.Pool(2)",
    "import concurrent.futures as c; list(c.ThreadPoolExecutor(2).map(abs, [-1]))",
    "import threading; t = threading.Thread(target=print, args=('in a thread',)); t.start(); t.join()",
    "import signal; signal.alarm(0); signal.signal(signal.SIGTERM, signal.SIG_DFL)",
    "import sqlite3; sqlite3.connect(':memory:').execute('select 1').fetchall()",
    "import resource; resource.getrusage(resource.RUSAGE_SELF)",
    "import ctypes; ctypes.CDLL(None)",
    "import sys; sys.stdout.flush(); sys.stdout.isatty(), sys.stdin.isatty(), sys.stdin.read()",
    "import os; os.write(1, b'to the descriptor\\n'); os.listdir('.'), os.stat('.'), os.walk('/')",
    "import logging; logging.warning('careful')",
    "import warnings; warnings.warn('careful')",
    "import pdb; pdb.set_trace()",
    "breakpoint()",
    "help(len)",
    "import gc, tracemalloc; gc.collect(); tracemalloc.start(); tracemalloc.stop()",
    "import webbrowser; webbrowser.open('https://example.org')",
    "import faulthandler; faulthandler.dump_traceback()",
    "%matplotlib inline",
    "!pip install numpy",
]


@pytest.mark.parametrize("code", HABITS)
def test_habits(python: Interpreter, code: str) -> None:
    done = python.run(code).done
    assert not done.state_lost
    assert python.run("1 + 1").value == "2"
