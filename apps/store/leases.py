"""Which processes are alive, on the database's clock.

A process has an owner id and one lease. While the lease is valid its runs are its own; once it
has run out it is never renewed: others may have declared the runs dead, and nothing revives them.
The process then takes a new owner id for new runs.
"""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.db.models import (
    DateTimeField,
    DurationField,
    Exists,
    ExpressionWrapper,
    OuterRef,
    Value,
)
from django.db.models.functions import Now

from apps.store.conf import conf
from apps.store.models import Lease, Response
from apps.store.models.response import RUNNING

FORGET = timedelta(hours=1)
"""Expired leases are kept for this long, for operators to see."""


def _from_now(delta: timedelta) -> ExpressionWrapper[Any]:
    return ExpressionWrapper(
        Now() + Value(delta, output_field=DurationField()), output_field=DateTimeField()
    )


def valid_lease(owner: OuterRef | str) -> Exists:
    """The condition that an owner's lease has not run out."""
    return Exists(Lease.objects.filter(owner=owner, expires_at__gt=Now()))


def acquire() -> str:
    """Take a new owner id with a fresh lease."""
    owner = uuid4().hex
    expires_at = _from_now(timedelta(seconds=conf.LEASE_SECONDS))
    Lease.objects.create(owner=owner, host=socket.gethostname(), expires_at=expires_at)
    return owner


def renew(owner: str) -> bool:
    """Prolong the lease, one statement. False when it had run out: the owner id is spent."""
    expires_at = _from_now(timedelta(seconds=conf.LEASE_SECONDS))
    alive = Lease.objects.filter(owner=owner, expires_at__gt=Now())
    return alive.update(expires_at=expires_at) == 1


def release(owner: str) -> None:
    """Give the lease up: whatever the owner still runs is dead from now on."""
    Lease.objects.filter(owner=owner).delete()


def sweep() -> int:
    """Mark the runs of dead processes failed; gives their number. Safe to run anywhere at any
    time: two sweeps do what one does."""
    dead = Response.objects.filter(~valid_lease(OuterRef("owner")), status__in=RUNNING)
    count = dead.update(
        status="failed", error_code="server_error", error_stage="lost", ended_at=Now()
    )
    Lease.objects.filter(expires_at__lt=_from_now(-FORGET)).delete()
    return count
