"""What the settings say of code execution: where it runs, and within which bounds.

Read by gateways and by workers, so it knows neither the store nor the API.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import redis
import structlog
from django.conf import settings
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from apps.tools.code_interpreter.configuration import sandbox_config, sandbox_folder
from apps.tools.code_interpreter.manager import SessionManager
from apps.tools.code_interpreter.memory import give_back_large_blocks
from apps.tools.code_interpreter.node import Node
from apps.tools.code_interpreter.places import Capacity
from apps.tools.code_interpreter.sandbox import Sandbox
from apps.tools.code_interpreter.sandboxes import make_sandbox
from apps.tools.code_interpreter.sandboxes.child import ChildGone
from apps.tools.code_interpreter.sandboxes.download import FetchFailed
from apps.tools.code_interpreter.sandboxes.pyodide.install import install
from apps.tools.code_interpreter.sandboxes.pyodide.installation import Installation
from apps.tools.conf import conf

log = structlog.stdlib.get_logger(__name__)

CONTAINER_S = 20 * 60
"""How long a node remembers a container that is not used: as long as most containers live."""
BACKOFF, RETRIES = ExponentialWithJitterBackoff(base=0.1, cap=1.0), 3
"""How a command is tried again whose connection broke: Redis may have obeyed it, and all that gateways
and workers tell it can be said twice."""
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def hosts_sandboxes() -> bool:
    """Whether code runs at all."""
    return conf.SANDBOX != "off"


def runs_on_workers() -> bool:
    """Whether it runs in Celery workers: wherever there is a broker."""
    return bool(settings.CELERY_BROKER_URL)


def sandbox_redis_url() -> str:
    """Where gateways and workers meet."""
    url: str = conf.SANDBOX_REDIS_URL or settings.REDIS_URL
    return url


def queue_seconds() -> float:
    return conf.SANDBOX_QUEUE_SECONDS


def capacity() -> Capacity:
    return Capacity(
        sessions=conf.SANDBOX_MAX_SESSIONS,
        memory_mb=conf.SANDBOX_NODE_MEMORY_MB or half_the_memory_mb(),
        idle_s=conf.SANDBOX_IDLE_SECONDS,
        container_s=CONTAINER_S,
        queue=conf.SANDBOX_QUEUE,
        queue_s=conf.SANDBOX_QUEUE_SECONDS,
    )


def half_the_memory_mb() -> int:
    """Half of what this machine, or this container of it, has."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # none, or "max"
        total = min(total, int(CGROUP_LIMIT.read_text()))
    return total >> 21


def _get_ready(sandbox: Sandbox) -> None:
    if sandbox.name == "pyodide" and not sandbox.probe().usable:
        log.info("fetching the sandbox", into=str(sandbox_folder()))
        registry = f"{conf.SANDBOX_NPM_REGISTRY.rstrip('/')}/pyodide/-"
        try:
            install(Installation(sandbox_folder() / "pyodide"), _no_bar, source=registry)
        except (FetchFailed, ChildGone, OSError) as exc:
            log.warning("sandbox not fetched: run `manage.py sandbox install`", reason=str(exc))
            return
        log.info("sandbox ready")
    sandbox.warm()


def _no_bar(name: str, done: int, total: int) -> None:
    """Progress is for terminals; this is a log."""


def make_manager() -> SessionManager:
    """The interpreters of this process, to be closed. The first spare starts in the background,
    after what it needs was fetched, where that was not done yet."""
    give_back_large_blocks()
    sandbox = make_sandbox(sandbox_config())
    threading.Thread(target=_get_ready, args=(sandbox,), name="sandbox-setup", daemon=True).start()
    return SessionManager(sandbox, capacity(), snapshots=settings.DATA_DIR / "sandbox-snapshots")


def make_node(name: str) -> Node:
    """This process as a node; ``name`` is never used twice."""
    client = redis.Redis.from_url(
        sandbox_redis_url(),
        decode_responses=True,
        health_check_interval=30,
        retry=Retry(BACKOFF, RETRIES),
    )
    return Node(name, client, make_manager())
