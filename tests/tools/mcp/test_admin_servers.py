"""The admin of MCP servers: what may be entered, what is shown, and what the buttons do."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from apps.store import mcp_servers
from apps.store.mcp_servers import ListedTool
from apps.store.models import Configuration, McpServer, McpTool, Project
from apps.store.secrets import Secret
from tests.store.factories import make_mcp_server, make_project
from tests.tools.mcp.servers import OnHttp, toys

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("encrypted")]

LIST = reverse("admin:store_mcpserver_changelist")
ADD = reverse("admin:store_mcpserver_add")
IMPORT = reverse("admin:store_mcpserver_import")
EXPORT = reverse("admin:store_mcpserver_export")
URL = "https://tools.example.org/mcp"


def staff(*codenames: str) -> Client:
    user = User.objects.create_user("keeper", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def url(name: str, server: McpServer) -> str:
    return reverse(f"admin:store_mcpserver_{name}", args=[server.pk])


def filled_in(**fields: Any) -> dict[str, Any]:
    return {
        "label": "toys",
        "enabled": "on",
        "transport": "streamable_http",
        "url": URL,
        "every_project": "on",
        "session_scope": "project",
        "approval": "always",
        "connect_timeout": "10",
        "call_timeout": "60",
        "result_limit": "200000",
        "concurrency": "8",
        "tools-TOTAL_FORMS": "0",
        "tools-INITIAL_FORMS": "0",
    } | fields


def stored() -> McpServer:
    return McpServer.objects.get()


def errors(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200
    found: dict[str, Any] = answer.context["adminform"].errors
    return found


# --- Entering -------------------------------------------------------------------------------------


def test_a_server_is_added_with_its_secrets(admin_client: Client) -> None:
    secrets = {"headers_new": "X-Team: blue\nX-Key: a:b", "bearer_token_new": "t0ken"}
    answer = admin_client.post(ADD, filled_in(**secrets, allowed_tools="look\nthrow"))
    assert answer.status_code == 302
    spec = mcp_servers.spec(stored())
    assert (spec.url, spec.bearer_token) == (URL, "t0ken")
    assert spec.headers == {"X-Team": "blue", "X-Key": "a:b"}
    assert spec.allowed_tools == frozenset({"look", "throw"})


def test_secrets_are_on_no_page_and_in_no_log(admin_client: Client) -> None:
    secrets = {"headers_new": "X-Team: hush-blue", "bearer_token_new": "hush-t0ken"}
    admin_client.post(ADD, filled_in(**secrets))
    wrong = admin_client.post(ADD, filled_in(**secrets, label="a b"))
    pages = [admin_client.get(LIST), admin_client.get(url("change", stored())), wrong]
    assert all(page.status_code == 200 for page in pages)
    shown = "".join(page.content.decode() for page in pages)
    assert "hush" not in shown
    assert "hush" not in repr(list(LogEntry.objects.values()))
    assert "Set; it stays" in pages[1].content.decode()


def test_an_empty_box_keeps_a_secret_and_a_tick_erases_it(admin_client: Client) -> None:
    make_mcp_server("toys", bearer_token=Secret("t0ken"), headers=Secret.mapping({"X": "y"}))
    admin_client.post(url("change", stored()), filled_in(headers_clear="on"))
    spec = mcp_servers.spec(stored())
    assert (spec.bearer_token, spec.headers) == ("t0ken", {})


def test_moving_to_another_origin_erases_the_secrets_and_says_so(admin_client: Client) -> None:
    server = make_mcp_server("toys", bearer_token=Secret("t0ken"))
    fields = filled_in(url="https://elsewhere.example.org/mcp")
    answer = admin_client.post(url("change", server), fields, follow=True)
    assert not stored().bearer_token
    assert "Bearer token" in next(
        str(m) for m in answer.context["messages"] if m.level_tag == "warning"
    )


@pytest.mark.parametrize(
    "bad",
    [
        "ftp://tools.example.org/",
        "http://169.254.169.254/latest",
        "http://[::ffff:169.254.169.254]/",
        "http://[fd00:ec2::254]/",
        "https://user:password@tools.example.org/mcp",
        "tools",
    ],
)
def test_urls_that_must_not_be_reached_are_refused(admin_client: Client, bad: str) -> None:
    assert "url" in errors(admin_client.post(ADD, filled_in(url=bad)))
    assert not McpServer.objects.exists()


def test_private_addresses_are_the_operators_to_use(admin_client: Client) -> None:
    assert admin_client.post(ADD, filled_in(url="http://10.0.0.7:8080/mcp")).status_code == 302


def test_a_server_needs_a_url(admin_client: Client) -> None:
    assert "url" in errors(admin_client.post(ADD, filled_in(url="")))


def test_headers_that_are_none_are_refused(admin_client: Client) -> None:
    assert "headers" in errors(admin_client.post(ADD, filled_in(headers_new="just words")))


def test_without_an_encryption_key_a_secret_is_refused(
    admin_client: Client, settings: Settings
) -> None:
    settings.GATEWAY_ENCRYPTION_KEYS = []
    found = errors(admin_client.post(ADD, filled_in(bearer_token_new="t0ken")))
    assert "GATEWAY_ENCRYPTION_KEYS" in str(found["bearer_token"])


def test_the_page_of_a_server_opens_without_the_key_of_its_secrets(
    admin_client: Client, settings: Settings
) -> None:
    server = make_mcp_server("toys", bearer_token=Secret("t0ken"))
    settings.GATEWAY_ENCRYPTION_KEYS = []
    assert admin_client.get(url("change", server)).status_code == 200


def test_choosing_projects_counts_as_a_change(admin_client: Client) -> None:
    server, project = make_mcp_server("toys"), make_project()
    before = Configuration.objects.get().version
    fields = filled_in(projects=[project.pk])
    del fields["every_project"]
    admin_client.post(url("change", server), fields)
    assert mcp_servers.server_for("toys", project.pk) is not None
    assert mcp_servers.server_for("toys", Project.objects.get(slug="default").pk) is None
    assert Configuration.objects.get().version > before


def test_deleting_several_counts_as_a_change(admin_client: Client) -> None:
    rows = [make_mcp_server(), make_mcp_server()]
    before = Configuration.objects.get().version
    chosen = {"action": "delete_selected", "_selected_action": [r.pk for r in rows], "post": "yes"}
    admin_client.post(LIST, chosen)
    assert not McpServer.objects.exists()
    assert Configuration.objects.get().version > before


def test_switches_of_tools_are_set(admin_client: Client) -> None:
    server = make_mcp_server("toys", approval="per_tool")
    mcp_servers.save_tools(server.pk, [ListedTool(name="look", input_schema={"a<b": 1})])
    page = admin_client.get(url("change", server)).content.decode()
    assert "a&lt;b" in page
    tool = McpTool.objects.get()
    forms = {"TOTAL_FORMS": 1, "INITIAL_FORMS": 1, "0-id": tool.pk, "0-server": server.pk}
    fields = filled_in(approval="per_tool") | {f"tools-{k}": v for k, v in forms.items()}
    admin_client.post(url("change", server), fields)
    spec = mcp_servers.spec(stored())
    assert not spec.admits("look", None)
    assert not spec.needs_approval("look")


def test_the_page_of_a_server_with_many_tools_can_be_saved(admin_client: Client) -> None:
    server = make_mcp_server("toys")
    mcp_servers.save_tools(server.pk, [ListedTool(name=f"tool{n}") for n in range(400)])
    rows = list(McpTool.objects.all())
    fields = filled_in() | {"tools-TOTAL_FORMS": 400, "tools-INITIAL_FORMS": 400}
    for number, tool in enumerate(rows):
        prefix = f"tools-{number}-"
        fields |= {f"{prefix}id": tool.pk, f"{prefix}server": server.pk, f"{prefix}enabled": "on"}
        fields |= {f"{prefix}needs_approval": "on"}
    assert admin_client.post(url("change", server), fields).status_code == 302


# --- Programs -------------------------------------------------------------------------------------

PROGRAM = {"transport": "stdio", "command": "npx", "args": "-y\nserver", "env_new": "KEY=hush"}


def test_programs_cannot_be_entered(admin_client: Client) -> None:
    assert "transport" in errors(admin_client.post(ADD, filled_in(**PROGRAM)))
    server = make_mcp_server("toys")
    assert "transport" in errors(admin_client.post(url("change", server), filled_in(**PROGRAM)))
    assert stored().command == ""


def test_a_program_is_shown_without_the_values_of_its_environment(admin_client: Client) -> None:
    env = Secret.mapping({"KEY": "hush"})
    server = make_mcp_server("local", transport="stdio", command="npx", args=["-y"], env=env)
    page = admin_client.get(url("change", server)).content.decode()
    assert "npx" in page
    assert "KEY=…" in page
    assert "hush" not in page


def test_a_program_is_enabled_and_restricted_but_not_edited(admin_client: Client) -> None:
    env = Secret.mapping({"KEY": "hush"})
    server = make_mcp_server("local", transport="stdio", command="npx", env=env)
    evil = {**PROGRAM, "command": "rm", "env_new": "KEY=evil", "cwd": "/"}
    fields = filled_in(**evil, allowed_tools="look")
    del fields["enabled"], fields["url"]
    assert admin_client.post(url("change", server), fields).status_code == 302
    spec = mcp_servers.spec(stored())
    assert (spec.enabled, spec.allowed_tools) == (False, frozenset({"look"}))
    assert (spec.command, spec.args, spec.cwd, spec.env) == ("npx", (), "", {"KEY": "hush"})


def test_a_program_stays_one(admin_client: Client) -> None:
    server = make_mcp_server("local", transport="stdio", command="npx")
    admin_client.post(url("change", server), filled_in())
    assert (stored().transport, stored().url) == ("stdio", "")


def test_with_the_setting_superusers_enter_programs(
    admin_client: Client, settings: Settings
) -> None:
    settings.GATEWAY_MCP_STDIO_ADMIN = True
    assert admin_client.post(ADD, filled_in(**PROGRAM)).status_code == 302
    spec = mcp_servers.spec(stored())
    assert (spec.command, spec.args, spec.env) == ("npx", ("-y", "server"), {"KEY": "hush"})
    fields = filled_in(command="uvx", args="other")
    assert admin_client.post(url("change", stored()), fields).status_code == 302
    assert (stored().command, stored().args) == ("uvx", ["other"])


def test_with_the_setting_others_still_cannot(settings: Settings) -> None:
    settings.GATEWAY_MCP_STDIO_ADMIN = True
    client = staff("add_mcpserver", "change_mcpserver", "view_mcpserver")
    assert "transport" in errors(client.post(ADD, filled_in(**PROGRAM)))


# --- Buttons --------------------------------------------------------------------------------------


def said(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def test_the_connection_is_tested(admin_client: Client) -> None:
    with OnHttp(toys().streamable_http_app()) as running:
        server = make_mcp_server("toys", url=running.url())
        fields = filled_in(url=running.url(), _continue="test")
        answer = admin_client.post(url("change", server), fields, follow=True)
    saved, text = said(answer)
    assert "was changed successfully" in saved
    assert text.startswith("MCP server toys: it answered after ")
    assert text.endswith("and has 2 tools.")
    assert mcp_servers.tools_of(server.pk) == []
    page = answer.content.decode()
    assert "toys 1.2" in page
    assert "works" in page


def test_the_tools_are_refreshed(admin_client: Client) -> None:
    with OnHttp(toys().streamable_http_app()) as running:
        fields = filled_in(url=running.url(), _continue="refresh")
        (_, first) = said(admin_client.post(ADD, fields, follow=True))
        (_, second) = said(admin_client.post(url("change", stored()), fields, follow=True))
    assert first.endswith("The list has changed.")
    assert second.endswith("Nothing has changed.")
    assert len(mcp_servers.tools_of(stored().pk)) == 2


@pytest.mark.parametrize("button", ["test", "refresh"])
def test_what_was_entered_is_saved_and_asked(button: str, admin_client: Client) -> None:
    with OnHttp(toys().streamable_http_app(), token="t0ken") as running:
        server = make_mcp_server("toys", bearer_token=Secret("wrong"))
        entered = {"url": running.url(), "bearer_token_new": "t0ken", "description": "Toys."}
        fields = filled_in(**entered, _continue=button)
        text = said(admin_client.post(url("change", server), fields, follow=True))[-1]
    assert "2 tools" in text
    assert (stored().url, stored().description) == (running.url(), "Toys.")


def test_what_cannot_be_saved_is_not_asked(admin_client: Client) -> None:
    with OnHttp(toys().streamable_http_app()) as running:
        server = make_mcp_server("toys", url=running.url())
        fields = filled_in(url=running.url(), concurrency="none", _continue="test")
        answer = admin_client.post(url("change", server), fields)
    assert "concurrency" in errors(answer)
    assert said(answer) == []


def test_a_failure_is_told_in_our_words(admin_client: Client) -> None:
    with OnHttp(toys().streamable_http_app(), token="t0ken") as running:
        server = make_mcp_server("toys", url=running.url(), bearer_token=Secret("wrong"))
        fields = filled_in(url=running.url(), _continue="test")
        answer = admin_client.post(url("change", server), fields, follow=True)
    assert "HTTP 401" in said(answer)[-1]
    assert "secret of the tester" not in answer.content.decode()
    assert "last try failed" in answer.content.decode()


def test_several_servers_are_asked_at_once(admin_client: Client) -> None:
    with OnHttp(toys().streamable_http_app()) as running:
        rows = [make_mcp_server("a", url=running.url()), make_mcp_server("b", url=running.url())]
        chosen = {"action": "refresh_selected", "_selected_action": [row.pk for row in rows]}
        answer = admin_client.post(LIST, chosen, follow=True)
    assert len(said(answer)) == 2
    assert McpTool.objects.count() == 4


def test_secrets_that_cannot_be_decrypted_are_said(
    admin_client: Client, settings: Settings
) -> None:
    server = make_mcp_server("toys", bearer_token=Secret("t0ken"))
    settings.GATEWAY_ENCRYPTION_KEYS = []
    fields = filled_in(_continue="test")
    text = said(admin_client.post(url("change", server), fields, follow=True))[-1]
    assert "cannot be decrypted" in text


def test_who_may_only_look_or_add_has_no_buttons() -> None:
    server = make_mcp_server("toys")
    client = staff("view_mcpserver", "add_mcpserver")
    for page in (url("change", server), ADD):
        assert "Save and test" not in client.get(page).content.decode()
    assert client.post(url("change", server), filled_in(_continue="test")).status_code == 403


# --- Files ----------------------------------------------------------------------------------------


def test_a_file_is_imported_but_for_its_programs(admin_client: Client) -> None:
    servers = {"toys": {"url": URL}, "local": {"command": "npx"}}
    text = json.dumps({"mcpServers": servers})
    answer = admin_client.post(IMPORT, {"text": text}, follow=True)
    assert said(answer)[0] == "Added: toys."
    assert [server.label for server in McpServer.objects.all()] == ["toys"]


def test_the_servers_environment_fills_no_placeholder_of_an_uploaded_file(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_SECRET", "hush")
    server = {"url": URL, "auth": "${GATEWAY_SECRET}"}
    admin_client.post(IMPORT, {"text": json.dumps({"mcpServers": {"toys": server}})})
    assert not stored().bearer_token


def test_what_is_wrong_with_a_file_is_shown(admin_client: Client) -> None:
    answer = admin_client.post(IMPORT, {"text": '{"mcpServers": {"toys": {}}}'})
    assert "neither a url nor a command" in answer.content.decode()
    assert "Choose a file" in admin_client.post(IMPORT, {}).content.decode()


def test_the_export_has_no_secrets(admin_client: Client) -> None:
    make_mcp_server("toys", bearer_token=Secret("hush"))
    answer = admin_client.get(EXPORT)
    assert answer["Content-Disposition"] == 'attachment; filename="mcp.json"'
    assert json.loads(answer.content)["mcpServers"]["toys"]["url"] == URL
    assert "hush" not in answer.content.decode()


def test_importing_and_exporting_need_permissions() -> None:
    assert staff("view_mcpserver").get(IMPORT).status_code == 403
    assert Client().get(EXPORT).status_code == 302


# --- Lists ----------------------------------------------------------------------------------------


def test_the_list_costs_the_same_whatever_its_length(
    admin_client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for _ in range(5):
        server = make_mcp_server()
        mcp_servers.record_success(server.pk, latency_ms=3)
        server.projects.add(make_project())
    with django_assert_max_num_queries(8):
        assert admin_client.get(LIST).status_code == 200


def test_who_may_only_look_sees_no_secret() -> None:
    server = make_mcp_server("toys", bearer_token=Secret("hush"))
    page = staff("view_mcpserver").get(url("change", server)).content.decode()
    assert "hush" not in page
