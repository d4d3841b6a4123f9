"""The log of MCP calls and approvals."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings

from apps.store import mcp_records
from apps.store.mcp_records import ApprovalRecord, CallRecord, Who
from apps.store.models import McpApproval, McpCall, McpServer
from apps.store.responses import delete_response
from tests.store.factories import make_mcp_server, make_project, make_response

pytestmark = pytest.mark.django_db


def who(**values: Any) -> Who:
    defaults = {"key_id": None, "response_id": "resp_1", "kept": True}
    return Who(**{"project_id": make_project().pk} | defaults | values)


def call(who: Who, **values: Any) -> CallRecord:
    defaults = {
        "server_id": None,
        "label": "search",
        "tool": "look",
        "item_id": "mcp_1",
        "arguments": '{"q": "cats"}',
        "outcome": "ok",
        "started_at": timezone.now(),
        "duration_ms": 12,
    }
    return CallRecord(who=who, **defaults | values)


def approval(server: McpServer, request_id: str = "mcpr_1") -> ApprovalRecord:
    return ApprovalRecord(
        request_id=request_id,
        server_id=server.pk,
        label=server.label,
        tool="look",
        arguments='{"q": "cats"}',
    )


def test_a_call_is_written_down() -> None:
    server = make_mcp_server("search")
    mcp_records.log_call(call(who(), server_id=server.pk, outcome="tool_error", error="no cats"))
    row = McpCall.objects.get()
    assert (row.server, row.arguments, row.outcome, row.error) == (
        server,
        '{"q": "cats"}',
        "tool_error",
        "no cats",
    )


def test_of_a_request_that_is_not_stored_no_payload_is_written_down() -> None:
    unkept = who(kept=False)
    server = make_mcp_server("search")
    mcp_records.log_call(call(unkept, outcome="tool_error", error="no cats"))
    mcp_records.record_decision(unkept, approval(server), approve=False, reason="no cats")
    mcp_records.record_approval_request(unkept, approval(server, "mcpr_2"))
    mcp_records.use_approval(unkept, approval(server, "mcpr_3"), reason="cats")
    assert McpCall.objects.count() == 1
    assert McpApproval.objects.count() == 3
    rows = [*McpCall.objects.values(), *McpApproval.objects.values()]
    assert "cats" not in repr(rows)


def test_long_arguments_are_cut() -> None:
    mcp_records.log_call(call(who(), arguments="x" * 50_000, tool="t" * 300))
    row = McpCall.objects.get()
    assert len(row.arguments) == mcp_records.LONGEST_ARGUMENTS
    assert row.arguments.endswith("…")


def test_the_log_outlives_the_server() -> None:
    server = make_mcp_server("search")
    mcp_records.log_call(call(who(), server_id=server.pk))
    server.delete()
    assert McpCall.objects.get().label == "search"


def test_a_decision_is_added_to_its_request_and_the_first_one_counts() -> None:
    asker, server = who(), make_mcp_server("search")
    asked = approval(server)
    mcp_records.record_approval_request(asker, asked)
    mcp_records.record_approval_request(asker, asked)
    assert McpApproval.objects.get().decision == ""
    mcp_records.record_decision(asker, asked, approve=True, reason="fine")
    mcp_records.record_decision(asker, asked, approve=False)
    row = McpApproval.objects.get()
    assert (row.decision, row.reason) == ("approved", "fine")
    assert row.decided_at is not None


def test_a_decision_whose_request_is_unknown_is_written_down_too() -> None:
    asker = who()
    mcp_records.record_decision(asker, approval(make_mcp_server("search")), approve=False)
    assert McpApproval.objects.get().decision == "denied"


def test_an_approval_is_good_for_one_call() -> None:
    asked = approval(make_mcp_server("search"))
    first = who()
    again = who(project_id=first.project_id, response_id="resp_2")
    mcp_records.record_approval_request(first, asked)
    assert mcp_records.use_approval(first, asked, reason="") == ""
    assert mcp_records.use_approval(again, asked, reason="") == "resp_1"
    assert mcp_records.use_approval(who(), asked, reason="") == "", "ids are a project's own"


def test_an_approval_that_no_row_knows_of_is_good_for_one_call_too() -> None:
    asked, asker = approval(make_mcp_server("search")), who()
    assert mcp_records.use_approval(asker, asked, reason="") == ""
    mcp_records.record_decision(asker, asked, approve=True)
    assert mcp_records.use_approval(asker, asked, reason="") == "resp_1"
    assert McpApproval.objects.get().decision == "approved"


def test_an_approval_that_is_used_counts_whatever_was_said_before_it_and_after() -> None:
    asker, asked = who(), approval(make_mcp_server("search"))
    fork = who(project_id=asker.project_id, response_id="resp_2")
    mcp_records.record_decision(asker, asked, approve=False, reason="Not now.")
    denied_at = McpApproval.objects.get().decided_at
    assert mcp_records.use_approval(fork, asked, reason="Go on.") == ""
    used = McpApproval.objects.get()
    assert (used.decision, used.reason, used.used_by) == ("approved", "Go on.", "resp_2")
    assert denied_at is not None
    assert used.decided_at is not None
    assert used.decided_at > denied_at
    mcp_records.record_decision(asker, asked, approve=False, reason="Too late.")
    assert mcp_records.use_approval(asker, asked, reason="Again.") == "resp_2"
    row = McpApproval.objects.get()
    assert (row.decision, row.reason, row.decided_at) == ("approved", "Go on.", used.decided_at)


def test_with_a_response_its_calls_lose_their_payload() -> None:
    response = make_response()
    asker = who(project_id=response.project_id, response_id=response.pk)
    mcp_records.log_call(call(asker, outcome="tool_error", error="no cats"))
    asked = approval(make_mcp_server("search"))
    mcp_records.record_decision(asker, asked, approve=False, reason="no cats")
    mcp_records.log_call(call(who(response_id="resp_other")))
    delete_response(response.pk, project_id=response.project_id)
    rows = [*McpCall.objects.filter(response_id=response.pk), *McpApproval.objects.all()]
    assert "cats" not in repr([vars(row) for row in rows])
    assert McpCall.objects.get(response_id="resp_other").arguments


@pytest.mark.parametrize("approve", [True, False])
def test_with_the_response_that_decided_its_words_go_and_what_was_asked_stays(
    approve: bool,
) -> None:
    response = make_response()
    asker = who(project_id=response.project_id, response_id="resp_asker")
    decider = who(project_id=response.project_id, response_id=response.pk)
    asked = approval(make_mcp_server("search"))
    mcp_records.record_approval_request(asker, asked)
    mcp_records.record_decision(decider, asked, approve=approve, reason="dogs are better")
    delete_response(response.pk, project_id=response.project_id)
    row = McpApproval.objects.get()
    assert row.reason == ""
    assert row.arguments == '{"q": "cats"}'
    assert row.decision == ("approved" if approve else "denied")


def test_with_the_response_that_used_an_approval_its_words_go() -> None:
    response = make_response()
    asker = who(project_id=response.project_id, response_id="resp_asker")
    user = who(project_id=response.project_id, response_id=response.pk)
    asked = approval(make_mcp_server("search"))
    mcp_records.record_decision(asker, asked, approve=False, reason="no cats")
    mcp_records.use_approval(user, asked, reason="dogs are better")
    delete_response(response.pk, project_id=response.project_id)
    assert McpApproval.objects.get().reason == ""


def test_what_is_older_than_the_setting_is_purged(settings: Settings) -> None:
    settings.GATEWAY_MCP_LOG_DAYS = 7.0
    asker, server = who(), make_mcp_server("search")
    old = timezone.now() - timedelta(days=8)
    mcp_records.log_calls([call(asker, started_at=old), call(asker)])
    mcp_records.record_approval_request(asker, approval(server))
    McpApproval.objects.update(requested_at=old)
    assert mcp_records.purge_records(dry_run=True) == 2
    assert mcp_records.purge_records() == 2
    assert (McpCall.objects.count(), McpApproval.objects.count()) == (1, 0)


def test_without_a_limit_nothing_is_purged(settings: Settings) -> None:
    settings.GATEWAY_MCP_LOG_DAYS = 0.0
    mcp_records.log_call(call(who(), started_at=timezone.now() - timedelta(days=999)))
    assert mcp_records.purge_records() == 0
