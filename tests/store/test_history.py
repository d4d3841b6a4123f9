"""Chains: read in one statement, in order, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from apps.store.errors import ResponseNotFound, StillRunning
from apps.store.history import load_history
from apps.store.models import Response, ResponsePayload, StoredItem
from apps.store.responses import delete_response
from apps.store.snapshots import History
from tests.store.factories import make_items, make_lease, make_project, make_response

pytestmark = pytest.mark.django_db

Queries = Callable[[int], Any]


def load(response: Response, project_id: int | None = None) -> History:
    if project_id is None:
        project_id = response.project_id
    return load_history(response.pk, project_id=project_id)


def turn(name: str, previous: Response | None = None, **fields: Any) -> Response:
    """A response with one item in and one out."""
    response = make_response(previous=previous, **fields)
    make_items(response, {"id": f"{name}-out"})
    make_items(response, {"id": f"{name}-in"}, direction=StoredItem.INPUT)
    return response


def ids(history: History) -> list[list[str]]:
    return [[item["id"] for item in each.items] for each in history.turns]


def test_a_chain_is_read_oldest_first_and_input_before_output() -> None:
    first = turn("a")
    third = turn("c", turn("b", first))
    history = load(third)
    assert ids(history) == [["a-in", "a-out"], ["b-in", "b-out"], ["c-in", "c-out"]]
    assert history.root_id == first.pk


def test_a_turn_whose_messages_are_kept_is_read_without_its_items() -> None:
    first = turn("a", body={})
    ResponsePayload.objects.filter(pk=first.pk).update(messages='{"role":"user"}')
    [old, new] = load(turn("b", first, body={})).turns
    assert (old.messages, old.items) == ('{"role":"user"}', [])
    assert (new.messages, len(new.items)) == (None, 2)


def test_branches_do_not_see_each_other() -> None:
    root = turn("a")
    left, right = turn("b", root), turn("c", root)
    assert ids(load(left)) == [["a-in", "a-out"], ["b-in", "b-out"]]
    assert ids(load(right)) == [["a-in", "a-out"], ["c-in", "c-out"]]
    assert ids(load(root)) == [["a-in", "a-out"]]


@pytest.mark.parametrize(
    ("status", "completed"),
    [("completed", True), ("incomplete", False), ("failed", False), ("cancelled", False)],
)
def test_a_turn_knows_whether_it_completed(status: str, completed: bool) -> None:
    history = load(turn("b", turn("a", status=status)))
    assert [each.completed for each in history.turns] == [completed, True]


def test_turns_without_items_count_too() -> None:
    history = load(turn("c", make_response(previous=turn("a"))))
    assert ids(history) == [["a-in", "a-out"], [], ["c-in", "c-out"]]


@pytest.mark.parametrize("depth", [1, 60])
def test_a_chain_is_one_statement_whatever_its_length(
    depth: int, django_assert_num_queries: Queries
) -> None:
    response = turn("a")
    for _ in range(depth):
        response = turn("b", response)
    with django_assert_num_queries(1):
        assert len(load(response).turns) == depth + 1


def test_a_run_that_goes_on_cannot_be_continued() -> None:
    response = turn("a", status="in_progress")
    make_lease(response.owner)
    with pytest.raises(StillRunning):
        load(response)


@pytest.mark.parametrize("seconds", [-1, None])
def test_a_run_whose_process_is_dead_can_be_continued(seconds: float | None) -> None:
    response = turn("a", status="in_progress")
    if seconds is not None:
        make_lease(response.owner, seconds=seconds)
    assert [each.completed for each in load(response).turns] == [False]


def test_a_chain_through_a_deleted_response_is_not_there() -> None:
    first = turn("a")
    second = turn("b", first)
    third, branch = turn("c", second), turn("d", first)
    for response in (first, second, third, branch):
        load(response)
    delete_response(second.pk, project_id=second.project_id)
    for response in (second, third):
        with pytest.raises(ResponseNotFound, match=response.pk):
            load(response)
    assert [len(load(response).turns) for response in (first, branch)] == [1, 2]


@pytest.mark.parametrize("fields", [{"kept": False}, {"deleted_at": timezone.now()}])
def test_what_the_api_does_not_show_cannot_be_continued(fields: dict[str, Any]) -> None:
    with pytest.raises(ResponseNotFound):
        load(turn("a", **fields))


def test_another_projects_chain_is_not_there() -> None:
    response = turn("a")
    load(response)
    with pytest.raises(ResponseNotFound):
        load(response, make_project().pk)
