"""Asks what the gateway leans on, besides the upstream, whether it is there. Blocking calls."""

from __future__ import annotations

from django.conf import settings
from django.db import connection

TIME_LIMIT = 2


class DependencyDown(Exception):
    """It did not answer; the message says why."""


def ping_database() -> None:
    """Raises what the database raises."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def has_redis() -> bool:
    return bool(settings.REDIS_URL)


def ping_redis() -> None:
    from redis import Redis, RedisError

    limits = {"socket_connect_timeout": TIME_LIMIT, "socket_timeout": TIME_LIMIT}
    try:
        with Redis.from_url(settings.REDIS_URL, **limits) as client:
            client.ping()
    except (RedisError, OSError) as exc:
        raise DependencyDown(str(exc)) from exc


def has_broker() -> bool:
    return bool(settings.CELERY_BROKER_URL)


def ping_broker() -> None:
    from amqp.exceptions import AMQPError
    from celery import current_app
    from kombu.exceptions import KombuError
    from redis import RedisError

    try:
        with current_app.connection_for_read(connect_timeout=TIME_LIMIT) as broker:
            broker.ensure_connection(max_retries=0, timeout=TIME_LIMIT)
    except (KombuError, AMQPError, RedisError, OSError) as exc:
        raise DependencyDown(str(exc)) from exc
    except (KeyError, ValueError) as exc:  # what they say may quote a part of the password
        raise DependencyDown("That is not the URL of a broker.") from exc
