"""The tasks of sandbox workers. What they do is in ``code_interpreter/node.py``."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from apps.tools.code_interpreter import ledger, node


# Acknowledged before it runs and never tried again: code that has begun may have had effects.
@shared_task(
    name=ledger.TASK,
    acks_late=False,
    reject_on_worker_lost=False,
    ignore_result=True,
    max_retries=0,
)
def run(message: dict[str, Any]) -> None:
    """Run a dispatched call on this node."""
    node.this().run(message)
