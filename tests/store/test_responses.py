"""Responses in the database: who may write an end, what is deleted, what is listed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.store import responses as store
from apps.store.errors import ResponseNotFound
from apps.store.media import contents
from apps.store.models import Lease, Project, Response, ResponsePayload, StoredItem
from apps.store.snapshots import RunSnapshot, StoredMedia
from tests.store.factories import (
    ended,
    make_items,
    make_lease,
    make_project,
    make_response,
    make_run,
    make_text,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def project() -> Project:
    return Project.objects.get(slug=Project.DEFAULT_SLUG)


def row(run: RunSnapshot) -> Response:
    return Response.objects.get(pk=run.id)


def items(run: RunSnapshot) -> list[tuple[int, int, str]]:
    """Direction, position and id of what is stored."""
    stored = StoredItem.objects.filter(response_id=run.id).order_by("direction", "position")
    return list(stored.values_list("direction", "position", "item_id"))


def begun(**fields: Any) -> RunSnapshot:
    """A visible run of a process that lives."""
    run = make_run(**fields)
    make_lease(run.owner)
    store.begin_response(run)
    return run


# --- Writing --------------------------------------------------------------------------------------


def test_a_run_that_begins_is_in_progress_and_has_its_input() -> None:
    run = make_run(input=[make_text(id="a"), make_text(id="b")])
    store.begin_response(run)
    assert (row(run).status, row(run).ended_at, row(run).root_id) == ("in_progress", None, run.id)
    assert items(run) == [(0, 0, "a"), (0, 1, "b")]
    assert ResponsePayload.objects.get(pk=run.id).body == run.body.decode()


def test_a_short_run_is_written_whole_at_its_end() -> None:
    run = ended(make_run(input=[make_text(id="a")]), make_text(id="b"), make_text(id="c"))
    assert store.finish_response(run, begun=False)
    assert (row(run).status, row(run).ended_at) == ("completed", run.ended_at)
    assert items(run) == [(0, 0, "a"), (1, 0, "b"), (1, 1, "c")]


def test_the_end_of_a_visible_run_is_added() -> None:
    run = begun(input=[make_text(id="a")])
    assert store.finish_response(ended(run, make_text(id="b")), begun=True)
    assert row(run).status == "completed"
    assert items(run) == [(0, 0, "a"), (1, 0, "b")]
    assert ResponsePayload.objects.get(pk=run.id).body == '{"status":"completed"}'


@pytest.mark.parametrize("visible", [True, False])
def test_images_that_a_run_made_are_kept_with_it(*, visible: bool) -> None:
    run = begun() if visible else make_run()
    run.made = [StoredMedia("0" * 64, "image/png", b"PNG", "")]
    assert store.finish_response(ended(run), begun=visible)
    assert contents(["0" * 64], project_id=run.project_id) == {"0" * 64: b"PNG"}
    store.delete_response(run.id, project_id=run.project_id)
    assert contents(["0" * 64], project_id=run.project_id) == {}


@pytest.mark.parametrize("status", ["completed", "incomplete", "failed", "cancelled"])
def test_an_end_is_written_once(status: str) -> None:
    run = begun()
    assert store.finish_response(ended(run, status=status), begun=True)
    for begun_before in (True, False):
        assert not store.finish_response(ended(run), begun=begun_before)
    assert row(run).status == status
    assert len(items(run)) == 2


def test_the_end_of_a_run_whose_lease_ran_out_is_not_written() -> None:
    run = make_run()
    make_lease(run.owner, seconds=-1)
    store.begin_response(run)
    assert not store.finish_response(ended(run), begun=True)
    assert (row(run).status, len(items(run))) == ("in_progress", 1)
    assert ResponsePayload.objects.get(pk=run.id).body == run.body.decode()


def test_the_end_of_another_process_is_not_written() -> None:
    run = begun()
    make_lease("process-2")
    stranger = make_run(id=run.id, root_id=run.id, owner="process-2")
    assert not store.finish_response(ended(stranger), begun=True)
    assert row(run).status == "in_progress"


def test_a_run_that_was_deleted_is_not_written_again() -> None:
    run = begun()
    store.delete_response(run.id, project_id=run.project_id)
    assert not store.finish_response(ended(run), begun=True)
    assert items(run) == []
    assert not ResponsePayload.objects.filter(pk=run.id).exists()


def test_a_first_write_that_got_lost_is_made_up_for() -> None:
    run = ended(make_run(input=[make_text(id="a")]), make_text(id="b"))
    assert store.finish_response(run, begun=True)
    assert row(run).status == "completed"
    assert items(run) == [(0, 0, "a"), (1, 0, "b")]


def test_a_first_write_whose_answer_got_lost_is_found() -> None:
    run = begun()
    assert store.finish_response(ended(run), begun=False)
    assert (row(run).status, len(items(run))) == ("completed", 2)


def test_a_run_that_is_not_kept_has_a_row_and_nothing_else() -> None:
    run = ended(make_run(kept=False))
    assert store.finish_response(run, begun=False)
    assert (row(run).status, row(run).kept) == ("completed", False)
    assert items(run) == []
    assert not ResponsePayload.objects.filter(pk=run.id).exists()


def test_the_last_use_of_a_chain_is_noted_on_its_root() -> None:
    long_ago = timezone.now() - timedelta(days=9)
    root = make_response(created_at=long_ago, used_at=long_ago)
    middle = make_response(previous=root, used_at=long_ago)
    assert store.finish_response(ended(make_run(previous=middle)), begun=False)
    root.refresh_from_db()
    middle.refresh_from_db()
    assert root.used_at > timezone.now() - timedelta(minutes=1)
    assert middle.used_at == long_ago


def test_giving_up_marks_only_what_still_runs() -> None:
    running, done = begun(), ended(make_run(owner="process-2"))
    store.finish_response(done, begun=False)
    store.give_up({running.id, done.id, "resp_unknown"})
    failed = row(running)
    assert (failed.status, failed.error_stage, failed.error_code) == (
        "failed",
        "store",
        "server_error",
    )
    assert failed.ended_at is not None
    assert row(done).status == "completed"


# --- Several ends at once -------------------------------------------------------------------------


def ending(run: RunSnapshot, *, begun: bool = False) -> store.Ending:
    return store.Ending(ended(run, make_text(id=f"out of {run.id}")), begun=begun)


def test_ends_that_come_together_are_written_as_one() -> None:
    new = [make_run(input=[make_text(id="a")]), make_run(input=[make_text(id="b")]), make_run()]
    endings = [ending(run) for run in new]
    with CaptureQueriesContext(connection) as queries:
        assert store.finish_responses(endings) == [True] * 3
    assert len([query for query in queries if "INSERT" in query["sql"]]) == 3
    for run in new:
        assert row(run).status == "completed"
        assert items(run)[-1] == (1, 0, f"out of {run.id}")


def test_each_of_them_has_its_own_verdict() -> None:
    visible, lost, new = begun(owner="living"), begun(owner="dead"), make_run()
    Lease.objects.filter(owner="dead").update(expires_at=timezone.now())
    root = make_response(used_at=timezone.now() - timedelta(days=1))
    before = root.used_at
    endings = [
        ending(visible, begun=True),
        ending(lost, begun=True),
        ending(new),
        ending(make_run(previous=root)),
    ]
    assert store.finish_responses(endings) == [True, False, True, True]
    assert [row(each.run).status for each in endings] == [
        "completed", "in_progress", "completed", "completed",
    ]  # fmt: skip
    root.refresh_from_db()
    assert root.used_at > before


def test_one_that_cannot_be_written_does_not_stop_the_others() -> None:
    good, taken, there = make_run(), make_run(id=make_response().pk), begun()
    endings = [ending(good), ending(taken), ending(there, begun=True)]
    assert store.finish_responses(endings) == [True, False, True]
    assert row(good).status == row(there).status == "completed"
    assert items(taken) == []


# --- Deletion -------------------------------------------------------------------------------------


def test_deleting_erases_what_was_said_and_leaves_a_tombstone(project: Project) -> None:
    kept, gone = make_response(body={}), make_response(body={})
    for response in (kept, gone):
        make_items(response, {"id": "a"}, direction=StoredItem.INPUT)
        make_items(response, {"id": "b"})
    store.delete_response(gone.pk, project_id=project.pk)
    gone.refresh_from_db()
    assert (gone.deleted_at is not None, gone.status) == (True, "completed")
    assert list(ResponsePayload.objects.values_list("pk", flat=True)) == [kept.pk]
    assert set(StoredItem.objects.values_list("response_id", flat=True)) == {kept.pk}


def test_deleting_a_run_that_goes_on_cancels_it() -> None:
    run = begun()
    store.delete_response(run.id, project_id=run.project_id)
    assert (row(run).status, row(run).ended_at is not None) == ("cancelled", True)


@pytest.mark.parametrize("fields", [{"kept": False}, {"deleted_at": timezone.now()}])
def test_what_is_not_there_cannot_be_deleted_nor_read(
    project: Project, fields: dict[str, Any]
) -> None:
    response = make_response(**fields)
    for act in (store.delete_response, store.get_response):
        with pytest.raises(ResponseNotFound):
            act(response.pk, project_id=project.pk)


def test_another_projects_response_is_not_there() -> None:
    response = make_response(body={})
    make_items(response, {"id": "a"})
    other = make_project().pk
    with pytest.raises(ResponseNotFound):
        store.delete_response(response.pk, project_id=other)
    with pytest.raises(ResponseNotFound):
        store.get_response(response.pk, project_id=other)


# --- Reading --------------------------------------------------------------------------------------


def test_a_response_is_read_with_its_output_in_order(project: Project) -> None:
    response = make_response(body={"status": "completed"})
    make_items(response, {"id": "in"}, direction=StoredItem.INPUT)
    make_items(response, {"id": "a"}, {"id": "b"})
    found = store.get_response(response.pk, project_id=project.pk)
    assert (found.id, found.status) == (response.pk, "completed")
    assert [json.loads(item)["id"] for item in found.output] == ["a", "b"]
    assert json.loads(found.body)["id"] == response.pk


def test_a_response_is_read_in_one_statement(
    project: Project, django_assert_num_queries: Callable[[int], Any]
) -> None:
    """Between two, its run could end, or somebody delete it."""
    silent, talkative = (make_response(body={"n": number}) for number in (0, 1))
    make_items(talkative, {"id": "a"}, {"id": "b"}, {"id": "c"})
    for response, number in ((silent, 0), (talkative, 3)):
        with django_assert_num_queries(1):
            found = store.get_response(response.pk, project_id=project.pk)
        assert (json.loads(found.body)["id"], len(found.output)) == (response.pk, number)


@pytest.mark.parametrize(
    ("status", "seconds", "seen"),
    [
        ("in_progress", 30, "in_progress"),
        ("in_progress", -1, "failed"),
        ("in_progress", None, "failed"),
        ("queued", -1, "failed"),
        ("completed", -1, "completed"),
        ("cancelled", None, "cancelled"),
    ],
)
def test_a_run_whose_process_is_dead_reads_as_failed(
    project: Project, status: str, seconds: float | None, seen: str
) -> None:
    response = make_response(status=status, body={})
    if seconds is not None:
        make_lease(response.owner, seconds=seconds)
    assert store.get_response(response.pk, project_id=project.pk).status == seen
    listed = store.list_responses(project_id=project.pk, after=None, limit=9, newest_first=True)
    assert [found.status for found in listed.responses] == [seen]
