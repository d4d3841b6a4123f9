"""``serve`` fetches the sandbox of the code interpreter at its first start."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.management.gateway_command import Serve


def test_a_sandbox_that_cannot_be_fetched_keeps_nobody_from_serving(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:1"
    program = Serve(
        tmp_path,
        "--demo",
        GATEWAY_SANDBOX="pyodide",
        GATEWAY_SANDBOX_NPM_REGISTRY=nowhere,
    )
    try:
        program.line("Code interpreter: fetching its sandbox, once.")
        program.line("Without code_interpreter:")
        program.line("Ctrl-C stops it.")
        program.signal(signal.SIGTERM)
        assert program.wait() == 0
    finally:
        program.close()


def test_nothing_is_fetched_where_code_does_not_run(tmp_path: Path) -> None:
    program = Serve(tmp_path, "--demo", GATEWAY_SANDBOX="off")
    try:
        program.line("Ctrl-C stops it.")
        assert "Code interpreter" not in program.output
    finally:
        program.close()
