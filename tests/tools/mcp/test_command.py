"""``manage.py mcp``."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from apps.store import mcp_servers
from apps.store.models import McpServer
from apps.store.secrets import Secret
from tests.store.factories import make_mcp_server
from tests.tools.mcp.servers import PROGRAM, OnHttp, toys

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("encrypted")]


def run(*arguments: str) -> str:
    out = StringIO()
    call_command("mcp", *arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_a_file_is_imported_with_the_environments_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOYS_TOKEN", "t0ken")
    file = tmp_path / "mcp.json"
    server = {"url": "https://tools.example.org/mcp", "auth": "${TOYS_TOKEN}"}
    file.write_text(json.dumps({"mcpServers": {"toys": server}}))
    assert run("import", str(file)) == "Added: toys.\n"
    assert McpServer.objects.get().bearer_token.reveal() == "t0ken"


def test_a_file_that_is_wrong_or_absent_is_said(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be read"):
        run("import", str(tmp_path / "none.json"))
    (tmp_path / "mcp.json").write_text('{"mcpServers": {"toys": {}}}')
    with pytest.raises(CommandError, match="toys: it has neither a url nor a command"):
        run("import", str(tmp_path / "mcp.json"))


def test_the_list_shows_no_secret() -> None:
    assert run("list") == "There are no MCP servers.\n"
    make_mcp_server("toys", bearer_token=Secret("t0ken"))
    make_mcp_server("local", transport="stdio", enabled=False, command="npx")
    lines = run("list")
    assert "toys\tstreamable_http\thttps://tools.example.org/mcp\tenabled\tall projects" in lines
    assert "local\tstdio\tnpx\tdisabled" in lines
    assert "t0ken" not in lines


def test_secrets_are_exported_only_when_asked_for() -> None:
    make_mcp_server("toys", bearer_token=Secret("t0ken"))
    assert "t0ken" not in run("export")
    assert "t0ken" in run("export", "--secrets")


def test_testing_tells_and_refreshing_keeps_the_tools() -> None:
    with OnHttp(toys().streamable_http_app()) as server:
        row = make_mcp_server("toys", url=server.url())
        assert "toys: 2 tools" in run("test")
        assert mcp_servers.tools_of(row.pk) == []
        assert "the list has changed" in run("refresh", "toys")
    assert [tool.name for tool in mcp_servers.tools_of(row.pk)] == ["look", "environment"]
    assert mcp_servers.health_of([row.pk])[row.pk].last_success_at is not None


def test_a_server_that_fails_fails_the_command() -> None:
    row = make_mcp_server("toys", transport="stdio", command="no-such-program")
    make_mcp_server("off", enabled=False, transport="stdio", command="no-such-program")
    with pytest.raises(CommandError, match="1 of 1 servers did not answer"):
        run("test")
    assert "no program" in mcp_servers.health_of([row.pk])[row.pk].last_error
    with pytest.raises(CommandError, match="no MCP server other"):
        run("test", "other")


def test_a_program_is_tested_too() -> None:
    fields = {**PROGRAM, "args": list(PROGRAM["args"])}
    make_mcp_server("local", transport="stdio", **fields)
    assert "local: 2 tools" in run("test", "local")
