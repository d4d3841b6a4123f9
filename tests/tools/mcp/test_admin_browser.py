"""The pages of MCP servers in a real browser: what an operator does on the first day."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser import logged_in
from tests.gateway import Gateway
from tests.tools.mcp.servers import OnHttp, toys

pytestmark = pytest.mark.browser


@pytest.fixture
def page(gateway: Gateway) -> Iterator[Page]:
    gateway.manage("shell", "--no-imports", "-v", "0", "-c", SUPERUSER)
    with logged_in(gateway) as opened:
        yield opened


def press(page: Page, name: str) -> None:
    """The buttons are above the form and below it."""
    page.get_by_role("button", name=name, exact=True).first.click()


SUPERUSER = (
    "from django.contrib.auth.models import User;"
    "User.objects.filter(is_superuser=True).exists() or User.objects.create_superuser('root')"
)


def test_a_server_is_added_asked_and_restricted(page: Page, gateway: Gateway) -> None:
    with OnHttp(toys().streamable_http_app(), token="t0ken") as running:
        page.goto(f"{gateway.url}/admin/store/mcpserver/add/")
        page.get_by_label("Label:").fill("shown")
        page.get_by_label("URL:").fill(running.url())
        page.get_by_label("Bearer token:").fill("t0ken")
        page.get_by_label("Needs approval:").select_option("per_tool")
        press(page, "Save and test connection")
        expect(page.get_by_text("was added successfully")).to_be_visible()
        expect(page.get_by_text("and has 2 tools.")).to_be_visible()
        assert "t0ken" not in page.content()

        page.get_by_label("Description:").fill("Toys.")
        press(page, "Save and refresh tools")
        expect(page.get_by_text("The list has changed.")).to_be_visible()
        expect(page.get_by_label("Description:")).to_have_value("Toys.")

        row = page.get_by_role("row").filter(has_text="environment")
        row.get_by_text("Description and schema").click()
        expect(row.get_by_text('"properties"').first).to_be_visible()
        row.get_by_role("checkbox").first.uncheck()
        press(page, "Save")

    listed = page.get_by_role("row").filter(has_text="shown")
    expect(listed.get_by_text("works")).to_be_visible()
    tools = gateway.http.get("/v1/mcp/servers/shown/tools").json()["data"]
    assert [tool["name"] for tool in tools] == ["look"]


def test_a_long_name_leaves_the_switches_in_a_narrow_window(page: Page, gateway: Gateway) -> None:
    server = toys()
    server.add_tool(lambda: "", name="looks_everywhere_" * 10)
    with OnHttp(server.streamable_http_app()) as running:
        page.goto(f"{gateway.url}/admin/store/mcpserver/add/")
        page.get_by_label("Label:").fill("long")
        page.get_by_label("URL:").fill(running.url())
        press(page, "Save and refresh tools")
        expect(page.get_by_text("it listed 3 tools")).to_be_visible()
    page.set_viewport_size({"width": 600, "height": 900})
    row = page.get_by_role("row").filter(has_text="looks_everywhere_")
    row.scroll_into_view_if_needed()
    expect(row.get_by_role("checkbox").last).to_be_in_viewport()


def test_an_mcp_json_is_imported_and_exported(page: Page, gateway: Gateway) -> None:
    page.goto(f"{gateway.url}/admin/store/mcpserver/")
    page.get_by_role("link", name="Import mcp.json").click()
    text = '{"mcpServers": {"imported": {"url": "https://tools.example.org/mcp", "auth": "hush"}}}'
    page.get_by_label("or its text").fill(text)
    page.get_by_role("button", name="Import").click()
    expect(page.get_by_text("Added: imported.")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Export mcp.json").click()
    exported = download.value.path().read_text()
    assert '"imported"' in exported
    assert "hush" not in exported
