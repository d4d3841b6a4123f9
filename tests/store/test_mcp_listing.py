"""What projects are shown of MCP servers."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from apps.store import mcp_servers
from apps.store.mcp_listing import ShownServer, shown_servers
from apps.store.mcp_servers import ListedTool
from apps.store.models import McpTool
from tests.store.factories import make_mcp_server, make_project

pytestmark = pytest.mark.django_db


def test_a_server_that_was_never_asked_has_no_number_of_tools() -> None:
    make_mcp_server("toys", description="Toys", approval="never")
    expected = ShownServer("toys", "Toys", True, False, "never", None)
    assert shown_servers(make_project().pk) == [expected]


def test_tools_that_are_switched_off_or_gone_do_not_count() -> None:
    server = make_mcp_server("toys")
    tools = [ListedTool(name=name) for name in ("look", "throw", "hide")]
    mcp_servers.save_tools(server.pk, tools)
    mcp_servers.save_tools(server.pk, tools[:2])
    McpTool.objects.filter(name="throw").update(enabled=False)
    assert shown_servers(make_project().pk)[0].tool_count == 1


def test_a_server_that_cannot_be_reached_is_away() -> None:
    server = make_mcp_server("toys")
    later = timezone.now() + timedelta(seconds=30)
    mcp_servers.record_breaker(server.pk, failures=3, breaker="open", retry_at=later)
    assert shown_servers(make_project().pk)[0].is_away


def test_all_of_them_cost_two_statements(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    project = make_project()
    for _ in range(3):
        mcp_servers.save_tools(make_mcp_server().pk, [ListedTool(name="look")])
    with django_assert_num_queries(2):
        assert len(shown_servers(project.pk)) == 3
