"""``mcp.json``: what other clients write is understood, and what is exported comes back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apps.store.models import Configuration, McpServer, McpTool
from apps.store.secrets import Secret
from apps.tools.mcp import importing, mcp_json
from apps.tools.mcp.importing import Imported
from apps.tools.mcp.mcp_json import Entry, McpJsonError
from tests.store.factories import make_mcp_server, make_project

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("encrypted")]


def read(server: Any, **values: str) -> Entry:
    (entry,) = mcp_json.parse(json.dumps({"mcpServers": {"toys": server}}), lookup=values.get)
    return entry


def bring_in(server: Any, *, with_commands: bool = True, **values: str) -> Imported:
    return importing.apply([read(server, **values)], with_commands=with_commands)


def stored() -> McpServer:
    return McpServer.objects.get(label="toys")


def problems(text: str) -> list[str]:
    with pytest.raises(McpJsonError) as caught:
        mcp_json.parse(text, lookup=importing.nothing)
    return caught.value.problems


URL = "https://tools.example.org/mcp"


def test_values_of_the_environment_may_end_with_a_line_break() -> None:
    headers = {"X-Key": "${KEY}", "Authorization": "Bearer ${TOKEN}"}
    entry = read({"url": URL, "headers": headers}, KEY="k3y\n", TOKEN="t0ken\n")
    assert (entry.headers, entry.bearer_token) == ({"X-Key": "k3y"}, "t0ken")
    assert read({"url": URL, "auth": "${TOKEN}"}, TOKEN="t0ken\n").bearer_token == "t0ken"
    assert read({"command": "npx", "env": {"KEY": "k3y\n"}}).env == {"KEY": "k3y\n"}


@pytest.mark.parametrize("headers", [{"X-Key": "s3cret\nX: 1"}, {"Authorization": "Bearer s3crét"}])
def test_headers_that_cannot_be_sent_are_named(headers: Any) -> None:
    (problem,) = problems(json.dumps({"mcpServers": {"toys": {"url": URL, "headers": headers}}}))
    assert f"The header {next(iter(headers))!r}" in problem
    assert "s3cr" not in problem


@pytest.mark.parametrize(
    ("server", "transport"),
    [
        ({"url": URL}, "streamable_http"),
        ({"type": "http", "url": URL}, "streamable_http"),
        ({"type": "streamable-http", "url": URL}, "streamable_http"),
        ({"type": "streamableHttp", "url": URL}, "streamable_http"),
        ({"transport": "streamable-http", "url": URL}, "streamable_http"),
        ({"httpUrl": URL}, "streamable_http"),
        ({"serverUrl": URL}, "streamable_http"),
        ({"type": "sse", "url": URL}, "sse"),
        ({"command": "npx", "args": ["-y", "server"]}, "stdio"),
        ({"type": "stdio", "command": "npx"}, "stdio"),
    ],
)
def test_the_transport_is_found_whatever_a_client_calls_it(server: Any, transport: str) -> None:
    entry = read(server)
    assert entry.transport == transport
    assert entry.url == (URL if transport != "stdio" else "")


@pytest.mark.parametrize(
    "server",
    [
        {"url": URL, "headers": {"Authorization": "Bearer ${TOKEN}", "X-Team": "blue"}},
        {"url": URL, "headers": {"authorization": "bearer t0ken", "X-Team": "blue"}},
        {"url": URL, "auth": "t0ken", "headers": {"X-Team": "${TEAM:-blue}"}},
    ],
)
def test_a_bearer_token_is_kept_apart_from_other_headers(server: Any) -> None:
    entry = read(server, TOKEN="t0ken")
    assert (entry.bearer_token, entry.headers) == ("t0ken", {"X-Team": "blue"})


def test_visual_studio_code_calls_them_servers() -> None:
    text = json.dumps({"servers": {"toys": {"url": URL}}})
    assert [entry.label for entry in mcp_json.parse(text, lookup=importing.nothing)] == ["toys"]


def test_what_is_not_taken_over_is_said() -> None:
    entry = read({"url": URL, "timeout": 5, "icon": "x"})
    assert len(entry.ignored) == 2
    assert "gateway.call_timeout" in entry.ignored[0]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    servers = {
        "a b": {"url": URL},
        "none": {},
        "odd": {"type": "carrier-pigeon", "url": URL},
        "metadata": {"url": "http://169.254.169.254/mcp"},
        "link": {"url": "http://[fe80::1]/mcp"},
        "file": {"url": "file:///etc/passwd"},
        "number": {"command": "x", "args": [1]},
        "unset": {"command": "${NOT_SET}"},
        "typo": {"url": URL, "gateway": {"aproval": "never"}},
    }
    found = problems(json.dumps({"mcpServers": servers}))
    assert [problem.partition(":")[0] for problem in found] == list(servers)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"mcpServers": []}', "{}"])
def test_a_file_of_another_kind_is_refused(text: str) -> None:
    assert problems(text)


def test_a_server_comes_in_with_all_that_the_file_says() -> None:
    project = make_project()
    done = bring_in({
        "url": URL,
        "description": "Toys",
        "disabled": True,
        "allowedTools": ["look", "throw"],
        "disabledTools": ["throw"],
        "alwaysAllow": ["look"],
        "gateway": {"projects": [project.slug], "call_timeout": 5, "trusted": True},
    })  # fmt: skip
    server = stored()
    assert done.added == ["toys"]
    assert (server.enabled, server.description, server.trusted) == (False, "Toys", True)
    assert (server.allowed_tools, server.call_timeout) == (["look", "throw"], 5)
    assert (server.every_project, [*server.projects.all()]) == (False, [project])
    switches = {tool.name: (tool.enabled, tool.needs_approval) for tool in server.tools.all()}
    assert switches == {"throw": (False, True), "look": (True, False)}
    assert server.approval == "per_tool"


def test_the_same_file_again_changes_nothing() -> None:
    file = {"url": URL, "auth": "t0ken", "headers": {"X-Team": "blue"}, "alwaysAllow": ["look"]}
    bring_in(file)
    before = (Configuration.objects.get().version, stored().version)
    assert bring_in(file).unchanged == ["toys"]
    assert (Configuration.objects.get().version, stored().version) == before


def test_what_the_file_does_not_mention_stays() -> None:
    make_mcp_server("toys", url=URL, bearer_token=Secret("t0ken"), approval="never", read_only=True)
    bring_in({"url": f"{URL}/v2"})
    server = stored()
    assert (server.url, server.approval, server.read_only) == (f"{URL}/v2", "never", True)
    assert server.bearer_token.reveal() == "t0ken"


def test_a_placeholder_without_a_value_keeps_what_is_stored() -> None:
    headers = Secret.mapping({"X-Team": "blue", "X-Old": "gone"})
    make_mcp_server("toys", url=URL, bearer_token=Secret("t0ken"), headers=headers)
    file = {"X-Team": "${TEAM}", "X-New": "1", "Authorization": "Bearer ${TOKEN}"}
    done = bring_in({"url": URL, "headers": file})
    server = stored()
    assert server.bearer_token.reveal() == "t0ken"
    assert server.headers.reveal_mapping() == {"X-Team": "blue", "X-New": "1"}
    assert "TEAM, TOKEN" in done.remarks[0]


def test_stored_secrets_do_not_follow_an_imported_server_to_another_origin() -> None:
    make_mcp_server("toys", url=URL, bearer_token=Secret("t0ken"))
    bring_in({"url": "https://elsewhere.example.org/mcp"})
    assert not stored().bearer_token


def test_placeholders_do_not_carry_stored_headers_to_another_origin() -> None:
    make_mcp_server("toys", url=URL, headers=Secret.mapping({"X-Team": "blue"}))
    bring_in({"url": "https://elsewhere.example.org/mcp", "headers": {"X-Team": "${TEAM}"}})
    assert stored().headers.reveal_mapping() == {}


def test_the_same_secret_given_again_does_follow() -> None:
    file = {"auth": "t0ken"}
    bring_in({"url": URL, **file})
    bring_in({"url": "https://elsewhere.example.org/mcp", **file})
    assert stored().bearer_token.reveal() == "t0ken"


def test_programs_are_left_out_where_they_may_not_be_entered() -> None:
    done = bring_in({"command": "rm", "args": ["-rf", "/"]}, with_commands=False)
    assert not McpServer.objects.exists()
    assert "manage.py mcp import" in done.remarks[0]


def test_an_unknown_project_is_said_and_nothing_is_imported() -> None:
    with pytest.raises(McpJsonError, match="no project nowhere"):
        bring_in({"url": URL, "gateway": {"projects": ["nowhere"]}})
    assert not McpServer.objects.exists()


def test_what_is_exported_comes_back_the_same() -> None:
    project = make_project()
    make_mcp_server(
        "toys", url=URL, headers=Secret.mapping({"X-Team": "blue"}), bearer_token=Secret("t0ken"),
        description="Toys", allowed_tools=["look"], every_project=False, call_timeout=5.0,
        oauth_client_id="id", oauth_client_secret=Secret("s3cret"), oauth_issuer="https://i.example",
    ).projects.set([project])  # fmt: skip
    McpTool.objects.create(server=stored(), name="look", enabled=False, seen_at=project.created_at)
    make_mcp_server(
        "local", transport="stdio", command="npx", args=["-y", "x"], env=Secret.mapping({"A": "b"})
    )
    whole = mcp_json.dump(McpServer.objects.all(), secrets=True)
    McpServer.objects.all().delete()
    importing.apply(mcp_json.parse(whole, lookup=importing.nothing), with_commands=True)
    assert mcp_json.dump(McpServer.objects.all(), secrets=True) == whole


def test_exported_secrets_are_placeholders_that_the_environment_fills_in() -> None:
    headers = Secret.mapping({"X-Team": "blue"})
    make_mcp_server("toys", url=URL, headers=headers, bearer_token=Secret("t0ken"))
    text = mcp_json.dump(McpServer.objects.all())
    assert "blue" not in text
    assert "t0ken" not in text
    McpServer.objects.all().delete()
    values = {"TOYS_TOKEN": "t0ken", "TOYS_X_TEAM": "blue"}
    importing.apply(mcp_json.parse(text, lookup=values.get), with_commands=True)
    assert stored().bearer_token.reveal() == "t0ken"
    assert stored().headers.reveal_mapping() == {"X-Team": "blue"}
