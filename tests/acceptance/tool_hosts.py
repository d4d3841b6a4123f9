"""A gateway with a tool host beside it, for code in the real sandbox; and what tests say to it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apps.tools.code_interpreter.sandboxes.pyodide.install import install
from apps.tools.code_interpreter.sandboxes.pyodide.installation import Installation
from tests.gateway import Gateway, sqlite_database
from tests.programs import Program
from tests.scripted_vllm import tool_call
from tests.tools.code_interpreter.conftest import FOLDER

TOOL: Any = {"type": "code_interpreter", "container": {"type": "auto"}}
OUTPUTS: Any = ["code_interpreter_call.outputs"]


@contextmanager
def gateway_with_tool_host(
    place: Path,
    upstream: str,
    *,
    environment: Mapping[str, str] | None = None,
    **settings: Any,
) -> Iterator[Gateway]:
    """``settings`` are as Gateway takes them; where the sandbox is, is known."""
    gateway = Gateway(
        sqlite_database(place),
        place,
        upstream=upstream,
        settings={"SANDBOX_DIR": FOLDER, **settings},
        environment=environment,
    )
    host = Program([sys.executable, "manage.py", "toolhost"], env=gateway.environment)
    host.line("tool host ready")
    yield gateway
    gateway.close()
    host.close()


def install_pyodide() -> None:
    """Once for all tests."""
    install(Installation(FOLDER / "pyodide"), lambda *progress: None)


def code(source: str) -> Any:
    """A turn in which the model runs this code."""
    return tool_call("code_interpreter", json.dumps({"code": source}))


def call_of(response: Any) -> Any:
    """The response's first call of the code interpreter."""
    return next(item for item in response.output if item.type == "code_interpreter_call")
