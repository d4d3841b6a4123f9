"""A sandbox worker: a Celery worker whose tasks run code. `manage.py worker` starts it.

It has settings of its own, without the gateway's secrets, and takes its calls from one queue that
is only its own.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys

os.environ["DJANGO_SETTINGS_MODULE"] = "responses_gateway.worker_settings"

import django
from celery import signals
from kombu import Exchange, Queue

from apps.tools.code_interpreter import ledger, node
from apps.tools.code_interpreter.setup import make_node
from responses_gateway.celery import app

QUEUE_EXPIRES_S = 3600
"""After which a broker that can forgets the queue of a node that is gone."""


def main() -> None:
    name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
    queue = ledger.queue_name(name)
    app.conf.task_queues = [
        Queue(queue, Exchange(""), routing_key=queue, expires=QUEUE_EXPIRES_S, auto_delete=True)
    ]
    made = node.current = make_node(name)
    django.setup()  # no apps: it sets up the log
    handlers = {  # held here, since signals hold them weakly
        signals.setup_logging: lambda **_: None,  # it is
        signals.worker_ready: lambda **_: made.start(),
        signals.worker_shutting_down: lambda **_: made.drain(),
        signals.worker_shutdown: lambda **_: made.stop(),
    }
    for signal, handler in handlers.items():
        signal.connect(handler)
    app.worker_main(_arguments(name, made))


def _arguments(name: str, made: node.Node) -> list[str]:
    return [
        "worker",
        "--pool=threads",
        f"--concurrency={made.manager.capacity.threads}",
        f"--hostname=sandbox@{name}",
        "--without-gossip",
        "--without-mingle",
        *sys.argv[1:],
    ]


if __name__ == "__main__":
    main()
