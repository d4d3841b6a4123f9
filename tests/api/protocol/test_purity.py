"""The protocol is pure: importing all of it brings in nothing that waits, stores or serves."""

from __future__ import annotations

import subprocess
import sys

from tests.programs import ROOT

FORBIDDEN = ("aiohttp", "apps.store", "asyncio", "celery", "channels", "django", "httpx", "ninja",
             "redis", "twisted")  # fmt: skip

SCRIPT = """
import importlib, pkgutil, sys
import apps.api.protocol as protocol
for module in pkgutil.walk_packages(protocol.__path__, "apps.api.protocol."):
    importlib.import_module(module.name)
print(*sys.modules)
"""


def test_importing_the_protocol_imports_no_framework_and_no_transport() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True
    )
    modules = done.stdout.split()
    assert "apps.api.protocol.items.message" in modules
    assert [name for name in FORBIDDEN if name in modules] == []
