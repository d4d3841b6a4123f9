"""Leases: who is alive, on the database's clock."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import Settings

from apps.store import leases
from apps.store.models import Lease, Response
from tests.store.factories import make_lease, make_response

pytestmark = pytest.mark.django_db


def status(response: Response) -> str:
    response.refresh_from_db()
    return response.status


def test_an_owner_has_a_lease_of_the_configured_length(settings: Settings) -> None:
    settings.GATEWAY_LEASE_SECONDS = 12.0
    lease = Lease.objects.get(owner=leases.acquire())
    remaining = lease.expires_at - timezone.now()
    assert timedelta(seconds=11) < remaining <= timedelta(seconds=12)
    assert lease.host


def test_owners_are_never_the_same() -> None:
    assert leases.acquire() != leases.acquire()


def test_renewing_prolongs_one_lease(settings: Settings) -> None:
    settings.GATEWAY_LEASE_SECONDS = 60.0
    mine, other = make_lease("mine", seconds=5), make_lease("other", seconds=5)
    assert leases.renew("mine")
    mine.refresh_from_db()
    assert mine.expires_at > timezone.now() + timedelta(seconds=55)
    before = other.expires_at
    other.refresh_from_db()
    assert other.expires_at == before


@pytest.mark.parametrize("seconds", [-0.001, -3600])
def test_a_lease_that_ran_out_is_never_renewed(seconds: float) -> None:
    lease = make_lease("mine", seconds=seconds)
    assert not leases.renew("mine")
    before = lease.expires_at
    lease.refresh_from_db()
    assert lease.expires_at == before


def test_a_lease_that_is_not_there_is_not_renewed() -> None:
    assert not leases.renew("nobody")


def test_a_released_lease_is_gone() -> None:
    owner = leases.acquire()
    leases.release(owner)
    assert not Lease.objects.exists()


def test_sweeping_fails_the_runs_of_the_dead_and_of_nobody_else() -> None:
    make_lease("alive")
    make_lease("dead", seconds=-1)
    running = make_response(owner="alive", status="in_progress")
    lost = make_response(owner="dead", status="in_progress")
    waiting = make_response(owner="unheard of", status="queued")
    done = make_response(owner="dead", status="completed")
    assert leases.sweep() == 2
    assert [status(r) for r in (running, lost, waiting, done)] == [
        "in_progress",
        "failed",
        "failed",
        "completed",
    ]
    assert (lost.error_stage, lost.error_code) == ("lost", "server_error")
    assert lost.ended_at is not None
    assert running.ended_at is None
    assert leases.sweep() == 0


def test_sweeping_forgets_leases_that_ended_long_ago() -> None:
    for owner, seconds in {"alive": 9, "dead": -60, "forgotten": -3700}.items():
        make_lease(owner, seconds=seconds)
    leases.sweep()
    assert set(Lease.objects.values_list("owner", flat=True)) == {"alive", "dead"}
