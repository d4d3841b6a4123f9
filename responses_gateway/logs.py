"""Log configuration: structlog events and standard records leave through one formatter."""

from __future__ import annotations

import logging
import time
from typing import Any

import structlog

SHARED: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]


class Seldom(logging.Filter):
    """Lets one line of a kind through in so many seconds: the others would say the same. Of a kind
    are those with the same words around what is filled in, of which a library has few."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._next: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now < self._next.get(record.msg, 0.0):
            return False
        self._next[record.msg] = now + self._seconds
        return True


def configuration(*, level: str, json: bool) -> dict[str, Any]:
    """The LOGGING setting; also points structlog at the standard library's loggers."""
    renderer = (
        structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processor": renderer,
                "foreign_pre_chain": SHARED,
            }
        },
        "filters": {"seldom": {"()": Seldom, "seconds": 10.0}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Each request would be a line; the gateway writes its own.
            "httpx": {"level": "WARNING"},
            "httpx2": {"level": "WARNING"},
            # It would quote what servers of strangers say; the gateway words its own errors.
            "mcp": {"level": "CRITICAL"},
            # A database that is away is a line for each attempt of each thread.
            "psycopg.pool": {"filters": ["seldom"]},
            "daphne": {"level": "WARNING"},
            "django.server": {"level": "WARNING"},
        },
    }
