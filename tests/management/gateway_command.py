"""``manage.py serve`` as a child process, on a data folder and a port of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it has no stubs

from tests.programs import ROOT, Program, eventually

FAKE_VLLM = f"{sys.executable} {Path(__file__).with_name('fake_vllm.py')}"


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """Nothing configured but the data folder and what is given."""
    bare = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GATEWAY_") and name not in {"DATABASE_URL", "REDIS_URL"}
    }
    return (
        bare
        | {
            "GATEWAY_SANDBOX": "off",
            "GATEWAY_DATA_DIR": str(folder),
            "GATEWAY_VLLM_COMMAND": FAKE_VLLM,
        }
        | settings
    )


class Serve(Program):
    """One ``serve``; port 0 is any free one, which is read from what it prints."""

    def __init__(self, folder: Path, *arguments: str, **settings: str) -> None:
        command = [sys.executable, "manage.py", "serve", "--port", "0", *arguments]
        self.environment = environment(folder, **settings)
        super().__init__(command, env=self.environment)

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command beside it, with the same settings."""
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False
        )

    @property
    def url(self) -> str:
        """The API's address, once the gateway is ready."""
        return self.printed(r"API +(http://\S+)/v1")

    @property
    def login_link(self) -> str:
        return self.printed(r"Admin +(http://\S+)")

    def printed(self, pattern: str) -> str:
        self.line("Ctrl-C stops it.")
        found = re.search(pattern, self.output)
        assert found, self.output
        return found.group(1)

    def children(self) -> list[psutil.Process]:
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def servers(self) -> list[psutil.Process]:
        """The server processes, when they have become what they are to be."""
        return [child for child in self.children() if "responses_gateway.server" in child.cmdline()]

    def close(self) -> None:
        try:
            left = self.children()
        except psutil.NoSuchProcess:
            left = []
        super().close()
        for child in left:
            if child.is_running():
                child.kill()


def gone(processes: list[psutil.Process]) -> bool:
    return not any(
        process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes
    )


def all_gone(processes: list[psutil.Process]) -> None:
    eventually(lambda: gone(processes), what=f"{processes} are gone")
