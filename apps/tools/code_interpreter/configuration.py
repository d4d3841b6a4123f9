"""The sandbox as the settings describe it: the one place where Django's settings become values."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

from django.conf import settings

from apps.tools.code_interpreter.sandbox import Limits, SandboxConfig
from apps.tools.code_interpreter.sandboxes.pyodide.installation import Installation
from apps.tools.conf import conf

TIERS = {"1g": 1 << 10, "4g": 4 << 10, "16g": 16 << 10, "64g": 64 << 10}
"""MiB of Python's objects for each ``memory_limit`` of the API."""
WASM_MB = 4096
"""What WebAssembly can address."""


def sandbox_folder() -> Path:
    return Path(conf.SANDBOX_DIR or settings.DATA_DIR / "sandbox").absolute()


def sandbox_is_missing() -> bool:
    """Whether the default sandbox is to run on this machine and is not installed."""
    here = conf.SANDBOX == "pyodide" and not settings.CELERY_BROKER_URL
    return here and not Installation(sandbox_folder() / "pyodide").installed


def sandbox_config() -> SandboxConfig:
    """Which backend runs here."""
    return SandboxConfig(
        backend=cast(Literal["pyodide", "native", "off"], conf.SANDBOX),
        folder=sandbox_folder(),
        spares=conf.SANDBOX_SPARES,
        unconfined=conf.SANDBOX_UNCONFINED,
    )


def memory_problem(tier: str | None) -> str | None:
    """Why no container may have so much memory, in words for a client."""
    if not tier or TIERS[tier] <= _most_memory_mb():
        return None
    return (
        f"Containers of {tier} are not offered here: the most is {_most_memory_mb()} MiB "
        "(GATEWAY_SANDBOX_MEMORY_MOST_MB)."
    )


def _most_memory_mb() -> int:
    most: int = conf.SANDBOX_MEMORY_MOST_MB
    return min(most, WASM_MB) if conf.SANDBOX == "pyodide" else most


def sandbox_limits(tier: str = "") -> Limits:
    """What one container may use, with the memory that it was made with: a tier, or what the
    settings give to all."""
    given: int = conf.SANDBOX_MEMORY_MB
    memory_mb = min(TIERS[tier], _most_memory_mb()) if tier else given
    return Limits(
        memory_mb=memory_mb,
        rss_mb=memory_mb + conf.SANDBOX_RSS_MB - given,
        wall_s=conf.SANDBOX_TIMEOUT,
        grace_s=conf.SANDBOX_GRACE,
        output_bytes=conf.SANDBOX_OUTPUT_BYTES,
        display_bytes=conf.SANDBOX_DISPLAY_BYTES,
        files_bytes=conf.SANDBOX_FILES_BYTES,
        files_count=conf.SANDBOX_FILES_COUNT,
    )
