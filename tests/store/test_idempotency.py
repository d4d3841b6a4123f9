"""Idempotency keys in the database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from apps.store import idempotency
from apps.store.idempotency import Earlier, claim, release
from apps.store.models import IdempotencyKey
from apps.store.retention import purge_idempotency_keys
from tests.store.factories import make_lease, make_project, make_response

pytestmark = pytest.mark.django_db


def claimed(response_id: str, *, key: str = "k", project_id: int | None = None) -> Earlier | None:
    project_id = project_id or make_project().pk
    return claim(
        key, project_id=project_id, body_sha256="0" * 64, response_id=response_id, owner="process-1"
    )


def test_a_key_is_taken_once_per_project() -> None:
    ours, theirs = make_project().pk, make_project().pk
    assert claimed("resp_1", project_id=ours) is None
    assert claimed("resp_2", project_id=theirs) is None
    assert claimed("resp_3", project_id=ours, key="other") is None
    found = claimed("resp_4", project_id=ours)
    assert found is not None
    assert found.response_id == "resp_1"


def test_a_key_that_was_released_can_be_taken() -> None:
    ours = make_project().pk
    claimed("resp_1", project_id=ours)
    release("resp_1")
    assert claimed("resp_2", project_id=ours) is None


def test_a_key_is_replaced_after_a_day_and_purged() -> None:
    ours = make_project().pk
    claimed("resp_1", project_id=ours)
    claimed("resp_2", project_id=ours, key="other")
    with time_machine.travel(timezone.now() + idempotency.LASTS - timedelta(minutes=1)):
        assert claimed("resp_3", project_id=ours) is not None
        assert purge_idempotency_keys() == 0
    with time_machine.travel(timezone.now() + idempotency.LASTS + timedelta(minutes=1)):
        assert claimed("resp_4", project_id=ours) is None
        assert purge_idempotency_keys(dry_run=True) == 1
        assert purge_idempotency_keys() == 1
        assert [row.response_id for row in IdempotencyKey.objects.all()] == ["resp_4"]


@pytest.mark.parametrize("is_visible", [False, True])
@pytest.mark.parametrize("lives", [False, True])
def test_what_its_process_does_not_live_to_end_has_ended(is_visible: bool, lives: bool) -> None:
    ours = make_project()
    make_lease("process-1", seconds=30 if lives else -30)
    claimed("resp_1", project_id=ours.pk)
    if is_visible:
        make_response(id="resp_1", project=ours, status="in_progress")
    found = claimed("resp_2", project_id=ours.pk)
    assert found is not None
    assert found.ended is not lives
    assert found.told is (is_visible and not lives)


@pytest.mark.parametrize(
    ("fields", "told", "streamed"),
    [
        ({}, True, False),
        ({"status": "failed"}, True, False),
        ({"streamed": True}, False, True),
        ({"kept": False}, False, False),
        ({"deleted_at": timezone.now()}, False, False),
        ({"deleted_at": timezone.now(), "streamed": True}, False, False),
    ],
)
def test_only_what_can_be_read_is_told(fields: dict[str, Any], told: bool, streamed: bool) -> None:
    ours = make_project()
    claimed("resp_1", project_id=ours.pk)
    make_response(id="resp_1", project=ours, **fields)
    found = claimed("resp_2", project_id=ours.pk)
    assert found is not None
    assert (found.ended, found.told, found.streamed) == (True, told, streamed)
