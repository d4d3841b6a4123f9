"""One ``serve`` under test, with all that it starts."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TypeAlias

import psutil  # type: ignore[import-untyped]  # it has no stubs
from cryptography.fernet import Fernet

from bench import servers, services

LEASE = 10.0
Processes: TypeAlias = list[psutil.Process]


class Served:
    """``settings`` say which services it has; with a broker, code runs in a worker."""

    def __init__(
        self,
        folder: Path,
        settings: dict[str, str],
        *,
        upstream: int,
        mcp_url: str,
        processes: int,
    ) -> None:
        self._environment = servers.environment_with(
            servers.settings_of(folder, upstream)
            | {
                "GATEWAY_LEASE_SECONDS": str(LEASE),
                "GATEWAY_LOG_LEVEL": "ERROR",
                "GATEWAY_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
                "GATEWAY_MCP_ALLOW_PRIVATE_NETWORKS": "true",
            }
            | settings
        )
        folder.mkdir()
        given = {
            "bench": {"url": mcp_url, "allowedTools": ["wait"], "gateway": {"approval": "never"}}
        }
        (folder / "mcp.json").write_text(json.dumps({"mcpServers": given}))
        self.port = services.free_port()
        servers.manage(self._environment, "migrate", "--verbosity", "0")
        self.token = servers.manage(self._environment, "createapikey", "knocks")
        options = ["--port", str(self.port), "--upstream", f"http://127.0.0.1:{upstream}",
                   "--processes", str(processes), "--mcp-config", str(folder / "mcp.json")]  # fmt: skip
        if "REDIS_URL" in settings:
            options.append("--with-worker")
        self._program = subprocess.Popen(
            [sys.executable, "manage.py", "serve", *options],
            cwd=servers.ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        servers.wait_for("serve", self._program, f"http://127.0.0.1:{self.port}/health")
        time.sleep(LEASE)  # for the tool host, and the first interpreter

    def servers(self) -> Processes:
        return self._those_with("responses_gateway.server")

    def tool_host(self) -> Processes:
        """It, or the worker in its place."""
        return self._those_with("toolhost") or self._those_with("worker")[:1]

    def sandboxes(self) -> Processes:
        return [each for each in self._all() if "deno" in each.name()]

    def _those_with(self, word: str) -> Processes:
        return [each for each in self._all() if word in each.cmdline()]

    def _all(self) -> Processes:
        found: Processes = psutil.Process(self._program.pid).children(recursive=True)
        return found

    def close(self) -> None:
        self._program.terminate()
        self._program.wait(90)
