"""The admin of responses: who sees what, what a page costs, and that text stays text."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from apps.store import leases
from apps.store.admin import large_tables, responses, transcript
from apps.store.admin.display import response_url
from apps.store.models import Response, ResponsePayload, StoredItem
from apps.store.responses import delete_response
from tests.store.factories import make_items, make_project, make_response

pytestmark = pytest.mark.django_db

LIST = reverse("admin:store_response_changelist")
SECRET = "the launch code is 0000"


def staff(*codenames: str) -> Client:
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def page(client: Client, url: str, **query: str) -> str:
    answer = client.get(url, query)
    assert answer.status_code == 200
    return answer.content.decode()


def user_says(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": text}


def assistant_says(text: str) -> dict[str, Any]:
    parts = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "role": "assistant", "content": parts}


def make_talk(text: str, **fields: Any) -> Response:
    """A response that holds a text everywhere where one can be."""
    error = {"code": "server_error", "message": text}
    response = make_response(body={"instructions": text, "error": error}, **fields)
    make_items(response, user_says(text), direction=StoredItem.INPUT)
    make_items(response, assistant_says(text), {"type": "reasoning", "summary": [], "x": text})
    return response


# --- The list -------------------------------------------------------------------------------------


def test_the_list_costs_the_same_for_any_number_of_rows(
    admin_client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    make_response()
    with django_assert_num_queries(8):
        page(admin_client, LIST)
    for _ in range(30):
        make_talk(SECRET, project=make_project())
    # Session, user, count, rows, models, projects, the first and the last day.
    with django_assert_num_queries(8):
        page(admin_client, LIST)


def test_the_list_counts_no_further_than_anybody_turns_pages(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_tables, "COUNT_LIMIT", 2)
    for _ in range(3):
        make_response()
    html = page(admin_client, LIST)
    assert "more than 2 responses" in html
    assert "more than 2 results" in html
    Response.objects.all()[:1].get().delete()
    html = page(admin_client, LIST)
    assert "2 responses" in html
    assert "2 results" in html
    assert "more than" not in html


def links_to_dates(html: str) -> list[str]:
    (nav,) = re.findall(r'<nav class="toplinks">(.*?)</nav>', html, re.DOTALL)
    return re.findall(r">(?:&lsaquo; )?([^<>]+)</a>", nav)


def test_dates_lead_from_years_to_days(admin_client: Client) -> None:
    for day in (datetime(2025, 11, 3, tzinfo=UTC), datetime(2026, 2, 4, 23, tzinfo=UTC)):
        make_response(created_at=day, model=f"of-{day:%Y}")
    assert links_to_dates(page(admin_client, LIST)) == ["2025", "2026"]
    year = {"created_at__year": "2026"}
    html = page(admin_client, LIST, **year)
    assert links_to_dates(html) == ["All dates", "January 2026", "February 2026"]
    month = year | {"created_at__month": "2"}
    days = ["February 1", "February 2", "February 3", "February 4"]
    assert links_to_dates(page(admin_client, LIST, **month)) == ["2026", *days]
    html = page(admin_client, LIST, **month, created_at__day="4", status__exact="completed")
    assert links_to_dates(html) == ["February 2026"]
    assert "?created_at__month=2&amp;created_at__year=2026&amp;status__exact=completed" in html
    assert "of-2026" in html
    assert "1 response" in html


def test_dates_begin_where_there_is_a_choice(admin_client: Client) -> None:
    assert "toplinks" not in page(admin_client, LIST)
    for day in (3, 5):
        make_response(created_at=datetime(2026, 2, day, tzinfo=UTC))
    assert links_to_dates(page(admin_client, LIST))[:2] == ["2026", "February 3"]


@pytest.mark.parametrize("wrong", ["year=x", "year=2026&created_at__month=13", "day=40", "month=3"])
def test_dates_that_are_none_do_not_break_the_list(admin_client: Client, wrong: str) -> None:
    make_response()
    assert admin_client.get(f"{LIST}?created_at__{wrong}", follow=True).status_code == 200


def test_the_list_does_not_look_at_every_date(admin_client: Client) -> None:
    make_response()
    for query in ("", "?created_at__year=2026", "?created_at__year=2026&created_at__month=5"):
        with CaptureQueriesContext(connection) as asked:
            admin_client.get(f"{LIST}{query}")
        assert not [query["sql"] for query in asked if "DISTINCT" in query["sql"]]


@pytest.mark.parametrize("field", ["id", "request_id"])
def test_a_search_finds_a_whole_id(admin_client: Client, field: str) -> None:
    wanted, other = make_response(request_id="req_1"), make_response(request_id="req_2")
    html = page(admin_client, LIST, q=getattr(wanted, field))
    assert wanted.id in html
    assert other.id not in html


def test_a_search_finds_no_part_of_an_id(admin_client: Client) -> None:
    response = make_response()
    assert response.id not in page(admin_client, LIST, q=response.id[:-1])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"status__exact": "failed"}, {"failed"}),
        ({"status__in": "queued,in_progress"}, {"running"}),
        ({"model": "large"}, {"large"}),
        ({"content": "kept"}, {"large", "failed", "running", "plain"}),
        ({"content": "not_kept"}, {"not kept"}),
        ({"content": "deleted"}, {"deleted"}),
        ({"streamed__exact": "1"}, {"plain"}),
    ],
)
def test_filters(admin_client: Client, query: dict[str, str], expected: set[str]) -> None:
    rows = {
        "failed": make_response(status="failed"),
        "running": make_response(status="in_progress"),
        "large": make_response(model="large"),
        "not kept": make_response(kept=False),
        "deleted": make_response(deleted_at=timezone.now()),
        "plain": make_response(streamed=True),
    }
    html = page(admin_client, LIST, **query)
    assert {name for name, row in rows.items() if row.id in html} == expected


def test_the_model_filter_keeps_a_model_that_was_not_used_lately(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "RECENT_RUNS", 1)
    make_response(model="old", created_at=timezone.now() - timedelta(days=9))
    make_response(model="new")
    assert "?model=old" not in page(admin_client, LIST)
    assert "?model=old" in page(admin_client, LIST, model="old")


def test_a_run_whose_process_is_gone_is_shown_as_failed(admin_client: Client) -> None:
    make_response(status="in_progress", owner=leases.acquire())
    assert "process gone" not in page(admin_client, LIST)
    make_response(status="in_progress", owner="nobody")
    assert "process gone" in page(admin_client, LIST)


# --- One response ---------------------------------------------------------------------------------


def test_the_page_says_how_a_run_went(admin_client: Client) -> None:
    moment = datetime(2026, 5, 4, 12, 0, 1, tzinfo=UTC)
    response = make_response(
        created_at=moment,
        duration_ms=83_400,
        first_token_ms=212,
        input_tokens=12_345,
        cached_tokens=10_000,
        request_id="req_7",
    )
    html = page(admin_client, response_url(response.id))
    for text in ("2026-05-04 12:00:01Z", "1m 23s", "212 ms", "12,345, 10,000 of them cached"):
        assert text in html
    assert "req_7" in html
    assert "Where it failed" not in html


def test_the_page_says_where_a_run_failed(admin_client: Client) -> None:
    response = make_response(
        status="failed",
        error_code="server_error",
        error_stage="upstream",
        upstream_status=502,
        upstream_attempts=3,
        body={"error": {"code": "server_error", "message": "Bad <gateway>"}},
    )
    html = page(admin_client, response_url(response.id))
    for text in ("Where it failed", "upstream", "502", "Bad &lt;gateway&gt;"):
        assert text in html


def test_the_page_links_the_chain(admin_client: Client) -> None:
    root = make_response()
    middle = make_response(previous=root)
    branches = [make_response(previous=middle), make_response(previous=middle)]
    html = page(admin_client, response_url(middle.id))
    for linked in (root, *branches):
        assert f'<a href="{response_url(linked.id)}">{linked.id}</a>' in html


def test_code_leads_to_its_container_for_who_may_see_those(admin_client: Client) -> None:
    response = make_response(body={})
    code = {"type": "code_interpreter_call", "code": "1", "container_id": "cntr_1", "outputs": []}
    make_items(response, code)
    url = reverse("admin:store_container_change", args=[quote("cntr_1")])
    link = f'in <a href="{url}">cntr_1</a>'
    assert link in page(admin_client, response_url(response.pk))
    shown = page(staff("view_response", "view_payload"), response_url(response.pk))
    assert "in cntr_1" in shown
    assert link not in shown


def test_the_page_alone_shows_no_ancestors(admin_client: Client) -> None:
    first = make_talk("the first question")
    second = make_talk("the second question", previous=first)
    html = page(admin_client, response_url(second.id))
    assert "the second question" in html
    assert "the first question" not in html


def test_the_history_shows_the_ancestors_oldest_first(admin_client: Client) -> None:
    first = make_talk("the first question")
    second = make_talk("the second question", previous=first)
    make_talk("another branch", previous=first)
    html = page(admin_client, response_url(second.id), history="1")
    assert html.index("the first question") < html.index("the second question")
    assert "another branch" not in html


def test_the_history_costs_the_same_for_any_length(
    admin_client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    response = make_talk("turn")
    for _ in range(20):
        response = make_talk("turn", previous=response)
    page(admin_client, response_url(response.id))  # fills Django's cache of content types
    # Session, user, the response, what continues it, the chain, two for items, the resource.
    with django_assert_num_queries(8):
        page(admin_client, response_url(response.id), history="1")


def test_a_long_history_is_cut_and_leads_on(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcript, "ANCESTORS_SHOWN", 1)
    first = make_talk("the first question")
    second = make_talk("the second question", previous=first)
    third = make_talk("the third question", previous=second)
    html = page(admin_client, response_url(third.id), history="1")
    assert "the first question" not in html
    assert "the second question" in html
    assert f"{response_url(first.id)}?history=1" in html


def test_of_many_items_the_latest_are_shown(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcript, "ITEMS_SHOWN", 2)
    response = make_response(body={})
    make_items(response, user_says("one"), user_says("two"), direction=StoredItem.INPUT)
    make_items(response, assistant_says("three"))
    html = page(admin_client, response_url(response.id))
    assert "1 earlier item left out" in html
    assert [word in html for word in (">one<", ">two<", ">three<")] == [False, True, True]


def test_items_too_large_for_a_page_are_not_read(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcript, "CHARACTERS_READ", 200)
    response = make_response(body={})
    make_items(response, user_says(SECRET + "x" * 300), direction=StoredItem.INPUT)
    make_items(response, assistant_says("short"))
    html = page(admin_client, response_url(response.id))
    assert SECRET not in html
    assert "characters, not shown here" in html
    assert ">short<" in html


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"deleted_at": datetime(2026, 5, 4, 12, 0, tzinfo=UTC)}, "deleted at 2026-05-04 12:00Z"),
        ({"kept": False}, "The request said store: false"),
        ({"kept": False, "status": "failed"}, "answered with an error, or said store: false."),
        ({"status": "in_progress"}, "in progress"),
        ({}, "No items are stored"),
    ],
)
def test_a_page_without_content_says_why(
    admin_client: Client, fields: dict[str, Any], reason: str
) -> None:
    response = make_response(**fields)
    html = page(admin_client, response_url(response.id))
    assert reason in html.partition('id="conversation"')[2]


def test_a_resource_that_is_damaged_does_not_break_the_page(admin_client: Client) -> None:
    response = make_response(status="failed", error_code="server_error")
    ResponsePayload.objects.create(response=response, body="{")
    assert "Where it failed" in page(admin_client, response_url(response.id))


def test_the_list_says_why_runs_failed(admin_client: Client) -> None:
    make_response(status="failed", error_code="upstream_unavailable")
    assert "upstream_unavailable" in page(admin_client, LIST).replace("<wbr>", "")


def test_texts_stay_texts(admin_client: Client) -> None:
    evil = "</pre><script>alert(1)</script><img src=https://evil.example/x onerror=alert(1)>"
    response = make_talk(evil, status="failed", error_code="server_error", model=evil)
    make_items(
        response,
        {"type": "function_call", "name": evil, "call_id": evil, "arguments": f'{{"a":"{evil}"}}'},
        {"type": "function_call_output", "call_id": evil, "output": evil, "status": evil},
        {"type": "<script>alert(1)</script>", "status": evil},
        {"type": "message", "role": evil, "content": [{"type": "refusal", "refusal": evil}]},
        {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_image", "image_url": evil}],
        },
    )
    for url in (response_url(response.id) + "?history=1", LIST):
        html = admin_client.get(url).content.decode()
        assert "&lt;script&gt;alert(1)" in html
        assert "<script>alert(1)" not in html
        assert "<img src=https" not in html


# --- Who may see what -----------------------------------------------------------------------------


def test_without_the_permission_no_content_is_anywhere(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    first = make_talk(SECRET)
    response = make_talk(SECRET, previous=first, status="failed", error_code="server_error")
    client = staff("view_response", "delete_response", "view_project", "view_apikey")
    url = response_url(response.id)
    urls = [
        LIST,
        url,
        url + "?history=1",
        url.replace("/change/", "/history/"),
        url.replace("/change/", "/delete/"),
        reverse("admin:index"),
        reverse("admin:app_list", args=["store"]),
    ]
    assert not any(SECRET in page(client, url) for url in urls)
    assert "lacks the permission" in page(client, url)
    asked = {"action": "delete_selected", "_selected_action": [first.id, response.id]}
    assert SECRET not in client.post(LIST, asked).content.decode()


def test_with_the_permission_the_content_is_there() -> None:
    response = make_talk(SECRET)
    html = page(staff("view_response", "view_payload"), response_url(response.id))
    assert html.count(SECRET) >= 6  # instructions, question and answer, each also in the raw JSON


@pytest.mark.parametrize(
    "lookup",
    [
        "payload__body__contains",
        "items__payload__contains",
        "previous__payload__body__contains",
        "chain__items__payload__contains",
    ],
)
def test_content_cannot_be_guessed_by_filtering(lookup: str) -> None:
    make_talk(SECRET)
    client = staff("view_response", "view_payload")
    assert client.get(LIST, {lookup: "launch"}).status_code == 400


def test_seeing_content_takes_seeing_responses() -> None:
    response = make_talk(SECRET)
    client = staff("view_payload")
    assert client.get(response_url(response.id)).status_code == 403
    assert client.get(LIST).status_code == 403


def test_nothing_can_be_added_or_changed(admin_client: Client) -> None:
    response = make_response()
    assert admin_client.get(reverse("admin:store_response_add")).status_code == 403
    answer = admin_client.post(response_url(response.id), {"model": "another"})
    assert answer.status_code == 403


# --- Deleting -------------------------------------------------------------------------------------


def test_deleting_leaves_a_tombstone_and_no_content() -> None:
    response = make_talk(SECRET, input_tokens=7)
    client = staff("view_response", "delete_response")
    url = response_url(response.id).replace("/change/", "/delete/")
    assert client.post(url, {"post": "yes"}).status_code == 302
    response.refresh_from_db()
    assert response.deleted_at is not None
    assert response.input_tokens == 7
    assert not StoredItem.objects.exists()
    assert not ResponsePayload.objects.exists()
    assert LogEntry.objects.get().object_repr == response.id


def test_selected_responses_are_deleted_after_a_question(admin_client: Client) -> None:
    kept, first, second = make_talk("a"), make_talk("b"), make_talk("c")
    gone = make_response(deleted_at=timezone.now())
    asked: dict[str, Any] = {
        "action": "delete_selected",
        "_selected_action": [first.id, second.id, gone.id],
    }
    assert "Responses: 2" in admin_client.post(LIST, asked).content.decode()
    assert Response.objects.filter(deleted_at=None).count() == 3
    html = admin_client.post(LIST, asked | {"post": "yes"}, follow=True).content.decode()
    assert "Successfully deleted 2 responses" in html
    assert list(Response.objects.filter(deleted_at=None)) == [kept]


def test_a_response_that_somebody_else_deleted_meanwhile_does_no_harm(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = make_talk("a")

    def twice(response_id: str, *, project_id: int) -> None:
        delete_response(response_id, project_id=project_id)
        delete_response(response_id, project_id=project_id)

    monkeypatch.setattr(responses, "delete_response", twice)
    url = response_url(response.id).replace("/change/", "/delete/")
    assert admin_client.post(url, {"post": "yes"}).status_code == 302


def test_too_many_are_not_deleted_at_once(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(responses, "DELETE_LIMIT", 1)
    ids = [make_talk("a").id, make_talk("b").id]
    asked = {"action": "delete_selected", "_selected_action": ids, "post": "yes"}
    html = admin_client.post(LIST, asked, follow=True).content.decode()
    assert "At most 1 responses can be deleted at once" in html
    assert not Response.objects.exclude(deleted_at=None).exists()


def test_what_holds_nothing_cannot_be_deleted(admin_client: Client) -> None:
    tombstone = make_response(deleted_at=timezone.now())
    asked = {"action": "delete_selected", "_selected_action": [tombstone.id]}
    html = admin_client.post(LIST, asked, follow=True).content.decode()
    assert "Nothing is kept of these responses" in html
    for response in (tombstone, make_response(kept=False)):
        url = response_url(response.id).replace("/change/", "/delete/")
        assert admin_client.post(url, {"post": "yes"}).status_code == 403


def test_deleting_takes_the_permission() -> None:
    response = make_talk("a")
    client = staff("view_response", "view_payload")
    url = response_url(response.id).replace("/change/", "/delete/")
    assert client.post(url, {"post": "yes"}).status_code == 403
    asked = {"action": "delete_selected", "_selected_action": [response.id], "post": "yes"}
    client.post(LIST, asked)
    assert not Response.objects.exclude(deleted_at=None).exists()
