"""A sandbox worker as it is, but for its sandbox: run as a program by tests.

Cells run in the worker's own process (see ``tests/scripted_sandbox.py``).
"""

from __future__ import annotations

from apps.tools.code_interpreter import setup
from responses_gateway import worker
from tests.scripted_sandbox import ScriptedSandbox

if __name__ == "__main__":
    setattr(setup, "make_sandbox", lambda _: ScriptedSandbox())  # noqa: B010 - mypy's eyes only
    worker.main()
