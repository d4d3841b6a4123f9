"""Lists of responses and of their items: page by page, everything once, in order."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.store import responses as store
from apps.store.errors import ResponseNotFound, UnknownCursor
from apps.store.history import chain_items
from apps.store.models import Project, Response, StoredItem
from apps.store.snapshots import ItemPage, ResponsePage
from tests.store.factories import make_items, make_project, make_response

pytestmark = pytest.mark.django_db

Queries = Callable[[int], Any]


@pytest.fixture
def project() -> Project:
    return Project.objects.get(slug=Project.DEFAULT_SLUG)


# --- Lists ----------------------------------------------------------------------------------------


def page(project_id: int, **options: Any) -> ResponsePage:
    defaults = {"after": None, "limit": 100, "newest_first": True}
    return store.list_responses(project_id=project_id, **{**defaults, **options})


def paged(project_id: int, **options: Any) -> list[str]:
    """Every id of a list, page by page."""
    ids: list[str] = []
    more, after = True, None
    while more:
        found = page(project_id, after=after, **options)
        ids += [response.id for response in found.responses]
        more, after = found.has_more, ids[-1]
    return ids


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_pages_have_everything_once_and_in_order(
    project: Project, limit: int, newest_first: bool
) -> None:
    now = timezone.now()
    times = [now, now, now, now - timedelta(seconds=1), now - timedelta(seconds=1), now, now]
    responses = [make_response(created_at=time, body={}) for time in times]
    expected = sorted(responses, key=lambda r: (r.created_at, r.pk), reverse=newest_first)
    assert paged(project.pk, limit=limit, newest_first=newest_first) == [r.pk for r in expected]


def test_lists_leave_out_what_is_not_kept_deleted_or_foreign(project: Project) -> None:
    shown = make_response(body={})
    make_response(kept=False)
    make_response(deleted_at=timezone.now())
    make_response(project=make_project(), body={})
    assert [found.id for found in page(project.pk).responses] == [shown.pk]


def test_a_cursor_that_is_nowhere_is_an_error(project: Project) -> None:
    make_response(body={})
    with pytest.raises(UnknownCursor, match="resp_nowhere"):
        page(project.pk, after="resp_nowhere")


@pytest.mark.parametrize("number", [1, 9])
def test_a_page_takes_one_statement_whatever_its_length(
    project: Project, number: int, django_assert_num_queries: Queries
) -> None:
    for _ in range(number):
        make_items(make_response(body={}), {"id": "a"}, {"id": "b"})
    with django_assert_num_queries(1):
        assert [len(found.output) for found in page(project.pk).responses] == [2] * number


def test_items_that_are_deleted_meanwhile_are_not_there(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = make_response(body={})
    make_items(response, {"id": "a"}, {"id": "b"}, direction=StoredItem.INPUT)

    def then_deleted(response_id: str, *, project_id: int) -> list[tuple[int, str]]:
        keys = chain_items(response_id, project_id=project_id)
        store.delete_response(response_id, project_id=project_id)
        return keys

    monkeypatch.setattr(store, "chain_items", then_deleted)
    with pytest.raises(ResponseNotFound):
        store.list_input_items(
            response.pk, project_id=project.pk, after=None, limit=9, newest_first=False
        )


# --- Items ----------------------------------------------------------------------------------------


def chain() -> Response:
    """Two responses: the input items of the second are a, b, c, d."""
    first = make_response(body={})
    make_items(first, {"id": "a"}, direction=StoredItem.INPUT)
    make_items(first, {"id": "b"})
    second = make_response(previous=first, body={})
    make_items(second, {"id": "c"}, {"id": "d"}, direction=StoredItem.INPUT)
    make_items(second, {"id": "e"})
    return second


def item_page(response: Response, **options: Any) -> ItemPage:
    defaults = {"after": None, "limit": 100, "newest_first": False}
    return store.list_input_items(
        response.pk, project_id=response.project_id, **{**defaults, **options}
    )


def ids(found: ItemPage) -> str:
    return "".join(json.loads(item)["id"] for item in found.items)


@pytest.mark.parametrize(("newest_first", "expected"), [(False, "abcd"), (True, "dcba")])
def test_input_items_are_the_chain_before_and_the_own_input(
    newest_first: bool, expected: str
) -> None:
    response = chain()
    found = item_page(response, newest_first=newest_first)
    assert (ids(found), found.first_id, found.last_id) == (expected, expected[0], expected[-1])
    assert not found.has_more


@pytest.mark.parametrize(
    ("options", "expected", "more"),
    [
        ({"limit": 2}, "ab", True),
        ({"limit": 2, "after": "b"}, "cd", False),
        ({"limit": 1, "after": "b"}, "c", True),
        ({"limit": 9, "after": "d"}, "", False),
        ({"limit": 2, "after": "c", "newest_first": True}, "ba", False),
    ],
)
def test_input_items_come_in_pages(options: dict[str, Any], expected: str, more: bool) -> None:
    found = item_page(chain(), **options)
    assert (ids(found), found.has_more) == (expected, more)


def test_an_empty_page_has_no_ends() -> None:
    found = item_page(make_response(body={}))
    assert found == ItemPage([], None, None, False)


@pytest.mark.parametrize(("newest_first", "expected"), [(False, "abcdef"), (True, "fedcba")])
def test_items_that_were_given_again_are_listed_once_so_that_paging_ends(
    newest_first: bool, expected: str
) -> None:
    third = make_response(previous=chain(), body={})
    make_items(third, {"id": "b"}, {"id": "f"}, {"id": "a"}, direction=StoredItem.INPUT)
    seen, after = "", None
    while len(seen) <= len(expected):
        page = item_page(third, after=after, limit=1, newest_first=newest_first)
        seen, after = seen + ids(page), page.last_id
        if not page.has_more:
            break
    assert seen == expected


def test_a_cursor_among_items_that_is_nowhere_is_an_error() -> None:
    response = chain()
    for after in ("nowhere", "e"):
        with pytest.raises(UnknownCursor):
            item_page(response, after=after)


@pytest.mark.parametrize("depth", [1, 6])
def test_input_items_take_as_many_statements_at_any_depth(
    depth: int, django_assert_num_queries: Queries
) -> None:
    response = make_response(body={})
    for number in range(depth):
        response = make_response(previous=response, body={})
        make_items(response, {"id": f"i{number}"}, direction=StoredItem.INPUT)
    with django_assert_num_queries(3):
        assert len(item_page(response).items) == depth


def test_items_are_found_by_their_ids(project: Project) -> None:
    make_items(make_response(), {"id": "a", "text": "old"})
    make_items(make_response(), {"id": "a", "text": "new"}, {"id": "b"})
    make_items(make_response(kept=False), {"id": "c"})
    make_items(make_response(deleted_at=timezone.now()), {"id": "d"})
    make_items(make_response(project=make_project()), {"id": "e"})
    found = store.find_items(["a", "b", "c", "d", "e", "f"], project_id=project.pk)
    assert found == {"a": {"id": "a", "text": "new"}, "b": {"id": "b"}}


def test_another_projects_responses_and_items_are_not_listed() -> None:
    response = make_response(body={})
    make_items(response, {"id": "a"})
    other = make_project().pk
    with pytest.raises(ResponseNotFound):
        store.list_input_items(
            response.pk, project_id=other, after=None, limit=9, newest_first=True
        )
    assert store.find_items(["a"], project_id=other) == {}
    assert page(other).responses == []
    with pytest.raises(UnknownCursor):
        page(other, after=response.pk)
