"""The admin's log of MCP calls and approvals: read by many, payload by few."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from apps.store import mcp_records
from apps.store.mcp_records import ApprovalRecord, CallRecord, Who
from apps.store.models import McpApproval, McpCall
from tests.store.factories import make_mcp_server, make_project

pytestmark = pytest.mark.django_db


def staff(*codenames: str) -> Client:
    user = User.objects.create_user("keeper", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def who(**values: Any) -> Who:
    defaults = {"key_id": None, "response_id": "resp_1", "kept": True}
    return Who(**{"project_id": make_project(name="Blue team").pk} | defaults | values)


def make_call(who: Who, **values: Any) -> McpCall:
    defaults: dict[str, Any] = {
        "server_id": make_mcp_server().pk,
        "label": "toys",
        "tool": "look",
        "item_id": "mcp_1",
        "arguments": '{"q": "<b>cats"}',
        "outcome": "tool_error",
        "error": "no such cats",
        "started_at": timezone.now(),
        "duration_ms": 12,
    }
    mcp_records.log_call(CallRecord(who=who, **defaults | values))
    return McpCall.objects.latest("pk")


def page(client: Client, row: McpCall | McpApproval) -> str:
    name = f"admin:store_{row._meta.model_name}_change"
    return client.get(reverse(name, args=[row.pk])).content.decode()


def test_the_list_of_calls_has_no_payload(admin_client: Client) -> None:
    make_call(who())
    shown = admin_client.get(reverse("admin:store_mcpcall_changelist")).content.decode()
    for word in ("toys", "look", "Blue team", "tool error", "12 ms"):
        assert word in shown
    assert "cats" not in shown


def test_a_call_shows_its_arguments_escaped_to_those_who_may_read_payloads(
    admin_client: Client,
) -> None:
    shown = page(admin_client, make_call(who()))
    assert "&lt;b&gt;cats" in shown
    assert "no such cats" in shown
    assert reverse("admin:store_response_change", args=["resp_5F1"]) in shown


@pytest.mark.parametrize("depth", [300, 900, 5000])
def test_arguments_are_shown_however_deep_they_are(admin_client: Client, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    shown = page(admin_client, make_call(who(), arguments=deep))
    assert deep in "".join(shown.split())


def test_others_see_that_there_was_a_call_and_no_more() -> None:
    shown = page(staff("view_mcpcall"), make_call(who()))
    assert "tool error" in shown
    assert "cats" not in shown


def test_payloads_cannot_be_guessed_by_filtering() -> None:
    make_call(who())
    listed = reverse("admin:store_mcpcall_changelist")
    answer = staff("view_mcpcall").get(listed, {"arguments__contains": "cats"})
    assert answer.status_code == 400


def test_a_server_of_the_request_itself_is_called_so(admin_client: Client) -> None:
    make_call(who(), server_id=None)
    shown = admin_client.get(reverse("admin:store_mcpcall_changelist")).content.decode()
    assert "toys (of the request)" in shown


def test_what_was_not_kept_is_said(admin_client: Client) -> None:
    shown = page(admin_client, make_call(who(kept=False)))
    assert "not kept" in shown
    assert "cats" not in shown


def test_an_approval_shows_its_decision_and_its_reason(admin_client: Client) -> None:
    asker, server = who(), make_mcp_server("toys")
    asked = ApprovalRecord(
        request_id="mcpr_1", server_id=server.pk, label="toys", tool="throw", arguments="{}"
    )
    mcp_records.record_approval_request(asker, asked)
    row = McpApproval.objects.get()
    assert "none yet" in page(admin_client, row)
    mcp_records.record_decision(asker, asked, approve=False, reason="No!")
    shown = page(admin_client, row)
    assert "denied" in shown
    assert "No!" in shown


def test_an_approval_shows_the_response_that_used_it(admin_client: Client) -> None:
    asker, server = who(), make_mcp_server("toys")
    asked = ApprovalRecord(
        request_id="mcpr_1", server_id=server.pk, label="toys", tool="throw", arguments="{}"
    )
    mcp_records.record_approval_request(asker, asked)
    mcp_records.use_approval(replace(asker, response_id="resp_that_called"), asked, reason="")
    assert "resp_that_called" in page(admin_client, McpApproval.objects.get())


def test_the_log_is_read_only(admin_client: Client) -> None:
    row = make_call(who())
    change = reverse("admin:store_mcpcall_change", args=[row.pk])
    assert admin_client.post(change, {"tool": "other"}).status_code == 403
    assert admin_client.get(reverse("admin:store_mcpcall_add")).status_code == 403
    delete = reverse("admin:store_mcpcall_delete", args=[row.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403


def test_the_list_costs_the_same_whatever_its_length(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(5):
        make_call(who())
    with django_assert_max_num_queries(9):
        assert admin_client.get(reverse("admin:store_mcpcall_changelist")).status_code == 200
