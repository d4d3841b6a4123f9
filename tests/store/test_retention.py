"""What ``manage.py purge`` erases, and what it leaves."""

from __future__ import annotations

import io
import os
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from django.core.management import call_command
from django.utils import timezone
from pytest_django import Settings

from apps.store import blobs, containers, files
from apps.store.media import contents, put
from apps.store.models import CodeCall, Response, StoredItem
from apps.store.snapshots import CodeRun, Room, StoredMedia
from tests.store.factories import make_items, make_project, make_response

pytestmark = pytest.mark.django_db

LONG_AGO = timezone.now() - timedelta(days=40)


@pytest.fixture(autouse=True)
def storage(settings: Settings, tmp_path: Path) -> Path:
    location = {"location": str(tmp_path)}
    backend = {"BACKEND": "django.core.files.storage.FileSystemStorage", "OPTIONS": location}
    settings.STORAGES = {**settings.STORAGES, "files": backend}
    return tmp_path


def blobs_left(storage: Path) -> int:
    return sum(path.is_file() for path in storage.rglob("*"))


def purge(*arguments: str) -> dict[str, int]:
    out = io.StringIO()
    call_command("purge", *arguments, stdout=out)
    lines = (line.rsplit(": ", 1) for line in out.getvalue().splitlines())
    return {kind: int(number) for kind, number in lines}


def blob() -> str:
    return blobs.write_now(io.BytesIO(b"x"), folder="1")


def test_expired_files_and_those_of_expired_containers_are_erased(storage: Path) -> None:
    project_id = make_project().pk
    for number, expires_at in enumerate((None, LONG_AGO, timezone.now() + timedelta(days=1))):
        files.add_file(
            f"file-{number}",
            project_id=project_id,
            filename="a",
            purpose="evals",
            size=1,
            blob=blob(),
            expires_at=expires_at,
        )
    for key in ("cntr_1", "cntr_2"):
        containers.create_container(
            key, project_id=project_id, name="x", memory_limit="1g", idle_minutes=20
        )
        containers.put_container_file(
            f"cfile_{key}",
            container_id=key,
            project_id=project_id,
            path="/mnt/data/a",
            size=1,
            sha256="",
            source="user",
            blob=blob(),
            most=Room(1, 3),
        )
    containers.expire_containers(["cntr_1"])
    expected = {"expired files": 1, "expired containers emptied": 1}
    assert purge("--dry-run").items() >= expected.items()
    assert blobs_left(storage) == 5
    assert purge().items() >= expected.items()
    assert blobs_left(storage) == 3
    assert set(purge().values()) == {0}


def test_bytes_without_a_row_are_erased_when_asked_and_nothing_else(storage: Path) -> None:
    project_id = make_project().pk
    kept, orphan = blob(), blob()
    inside = blobs.write_now(io.BytesIO(b"x"), folder="1/cntr_1")
    files.add_file(
        "file-1",
        project_id=project_id,
        filename="a",
        purpose="evals",
        size=1,
        blob=kept,
        expires_at=None,
    )
    foreign = storage / "1" / "notes.txt"
    foreign.write_text("somebody else's")
    for path in storage.rglob("*"):
        if path.is_file():
            os.utime(path, (LONG_AGO.timestamp(),) * 2)
    fresh = blob()  # its row is about to be written
    assert purge("--orphans", "--dry-run")["bytes without a file"] == 2
    assert purge().get("bytes without a file") is None
    assert purge("--orphans")["bytes without a file"] == 2
    assert [(storage / name).exists() for name in (kept, orphan, inside, fresh)] == [
        True,
        False,
        False,
        True,
    ]
    assert foreign.exists()


def test_responses_stay_by_default() -> None:
    make_response(body={}, used_at=LONG_AGO)
    assert purge()["old responses"] == 0


def test_responses_go_when_their_chain_was_not_used_for_long(settings: Settings) -> None:
    settings.GATEWAY_RESPONSE_DAYS = 30.0
    old = make_response(body={}, used_at=LONG_AGO)
    later = make_response(body={}, previous=old)  # its own use does not count, its root's does
    make_items(later, {"type": "message"})
    used = make_response(body={}, created_at=LONG_AGO)
    running = make_response(body={}, status="in_progress", used_at=LONG_AGO)
    assert purge("--dry-run")["old responses"] == 2
    assert purge()["old responses"] == 2
    kept = Response.objects.filter(deleted_at=None).values_list("pk", flat=True)
    assert set(kept) == {used.pk, running.pk}
    assert not StoredItem.objects.filter(response=later).exists()


def test_images_of_runs_that_never_ended_are_erased_after_a_day() -> None:
    image = StoredMedia("0" * 64, "image/png", b"PNG", "")
    project_id = make_project().pk
    put(image, project_id=project_id)
    assert purge()["images without a response"] == 0
    with time_machine.travel(timezone.now() + timedelta(days=1, seconds=1)):
        assert purge()["images without a response"] == 1
    assert contents([image.sha256], project_id=project_id) == {}


def test_what_code_a_response_ran_goes_with_it(settings: Settings) -> None:
    settings.GATEWAY_RESPONSE_DAYS = 30.0
    old = make_response(body={}, used_at=LONG_AGO)
    containers.create_container(
        "cntr_1", project_id=old.project_id, name="x", memory_limit="1g", idle_minutes=20
    )
    containers.record_code_run(
        CodeRun(
            id="ci_1",
            container_id="cntr_1",
            response_id=old.pk,
            outcome="ok",
            duration_ms=1,
            code="print(1)",
            output="1",
        )
    )
    purge()
    assert list(CodeCall.objects.values_list("code", "output", "outcome")) == [("", "", "ok")]
