"""Python's side of a Pyodide session: ties the harness to the few functions of the worker."""

from __future__ import annotations

import ast
import asyncio
import importlib
import os
import signal
import sys
import time
from typing import Any

from sandbox_repl import Repl  # type: ignore[import-not-found]

for _name in [
    "argparse",
    "base64",
    "bisect",
    "calendar",
    "collections",
    "copy",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "enum",
    "fractions",
    "functools",
    "glob",
    "hashlib",
    "heapq",
    "html",
    "inspect",
    "io",
    "itertools",
    "json",
    "math",
    "operator",
    "pathlib",
    "pickle",
    "pprint",
    "random",
    "re",
    "shutil",
    "statistics",
    "string",
    "struct",
    "tempfile",
    "textwrap",
    "traceback",
    "typing",
    "unicodedata",
    "urllib.parse",
    "urllib.request",
    "uuid",
    "xml.etree.ElementTree",
    "zipfile",
]:
    importlib.import_module(_name)

_emit: Any = None
_sleep: Any = None
_load: Any = None


async def _wait(task: asyncio.Future[Any]) -> Any:
    return await task


def _system(command: str) -> int:
    raise OSError("this sandbox has no processes: os.system() does not work")


def _pause(seconds: float) -> None:
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    if _sleep(float(seconds)):
        _repl.interrupt(signal.SIGINT, sys._getframe())


_repl = Repl(lambda *frame: _emit(*frame), _wait)
time.sleep = _pause  # type: ignore[assignment]
os.system = _system  # type: ignore[assignment]


def attach(emit: Any, sleep: Any, load: Any, packages: str) -> None:
    """Take the worker's functions; at each start, for no snapshot can hold them."""
    global _emit, _sleep, _load
    _emit, _sleep, _load = emit, sleep, load
    _repl.installed = packages


def detach() -> None:
    global _emit, _sleep, _load
    _emit = _sleep = _load = None


async def warm_up() -> None:
    """Run what every cell runs once, so that the first one of the code does not wait for it."""
    global _emit
    emit, cells, _emit = _emit, _repl.cells, lambda *frame: None
    await _repl.run("None\nprint()")
    await _repl.run("1 / 0")
    os.urandom(1)  # what gives random numbers is looked for once, and later hidden
    _emit, _repl.cells = emit, cells


async def run(source: str) -> bool:
    signal.signal(signal.SIGINT, _repl.interrupt)  # whatever earlier cells made of it
    await _load_imports(source)
    return bool(await _repl.run(source))


def cancel() -> None:
    """End what awaits; code that is running is interrupted instead."""
    _repl.cancel()


async def _load_imports(source: str) -> None:
    """Packages are unpacked when a cell first names them."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    if names := names - sys.modules.keys() - sys.stdlib_module_names:
        await _load(sorted(names))
