"""MCP servers in the store: who sees them, what becomes of their secrets, tools and health."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import FieldError
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from apps.store import mcp_servers
from apps.store.encryption import NoEncryptionKey
from apps.store.mcp_servers import ListedTool, ServerSpec
from apps.store.models import Configuration, McpHealth, McpServer, McpTool
from apps.store.secrets import Secret, SecretUnreadable
from tests.store.factories import make_mcp_server, make_project

pytestmark = pytest.mark.django_db
OLD_KEY, NEW_KEY = (Fernet.generate_key().decode() for _ in range(2))


@pytest.fixture(autouse=True)
def key(settings: Settings) -> None:
    settings.GATEWAY_ENCRYPTION_KEYS = [OLD_KEY]


def version() -> int:
    return Configuration.objects.get().version


def specified(server: McpServer) -> ServerSpec:
    spec = mcp_servers.server_by_id(server.pk)
    assert spec is not None
    return spec


def column(server: McpServer, name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {name} FROM store_mcpserver WHERE id = %s", [server.pk])
        value: str = cursor.fetchone()[0]
        return value


# --- Who sees what --------------------------------------------------------------------------------


def test_a_server_for_every_project_is_seen_by_all() -> None:
    make_mcp_server("search")
    project = make_project()
    assert [spec.label for spec in mcp_servers.servers_for(project.pk)] == ["search"]
    assert mcp_servers.server_for("search", project.pk) is not None


def test_a_server_of_some_projects_does_not_exist_for_others() -> None:
    ours, theirs = make_project(), make_project()
    make_mcp_server("search", every_project=False).projects.set([ours])
    assert mcp_servers.server_for("search", ours.pk) is not None
    assert mcp_servers.server_for("search", theirs.pk) is None
    assert mcp_servers.servers_for(theirs.pk) == []


def test_without_any_project_a_restricted_server_is_for_nobody() -> None:
    make_mcp_server("search", every_project=False)
    assert mcp_servers.servers_for(make_project().pk) == []


def test_a_disabled_server_is_told_apart_from_an_unknown_one() -> None:
    project = make_project()
    make_mcp_server("search", enabled=False)
    spec = mcp_servers.server_for("search", project.pk)
    assert spec is not None
    assert not spec.enabled
    assert mcp_servers.server_for("other", project.pk) is None


def test_versions_are_those_of_servers_that_may_be_used() -> None:
    there, off = make_mcp_server(), make_mcp_server(enabled=False)
    assert mcp_servers.versions_of([there.pk, off.pk, 999_999]) == {there.pk: there.version}


def test_all_servers_of_a_project_cost_two_statements(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    project = make_project()
    for label in ("a", "b", "c"):
        mcp_servers.save_tools(make_mcp_server(label).pk, [ListedTool(name="look")])
    with django_assert_num_queries(2):
        mcp_servers.servers_for(project.pk)


def test_a_server_needs_a_url_or_a_command() -> None:
    for wrong in ({"url": ""}, {"transport": "stdio", "command": ""}):
        with pytest.raises(IntegrityError), transaction.atomic():
            make_mcp_server("search", **wrong)


# --- Changes --------------------------------------------------------------------------------------


def test_every_change_counts_in_the_server_and_in_the_configuration() -> None:
    server = make_mcp_server("search")
    before = version()
    server.enabled = False
    server.save()
    assert specified(server).version == version() == before + 1
    server.delete()
    assert version() == before + 2


def test_two_edits_of_the_same_row_make_two_versions() -> None:
    make_mcp_server("search")
    one, other = McpServer.objects.get(), McpServer.objects.get()
    one.save()
    other.save()
    assert one.version != other.version


def test_health_changes_no_configuration() -> None:
    server = make_mcp_server("search")
    before = version()
    mcp_servers.record_success(server.pk, latency_ms=12)
    mcp_servers.record_failure(server.pk, "gone")
    assert version() == before


# --- Secrets --------------------------------------------------------------------------------------


def with_secrets(**values: Any) -> McpServer:
    return make_mcp_server(
        "search",
        headers=Secret.mapping({"x-team": "hush"}),
        bearer_token=Secret("quiet"),
        oauth_client_secret=Secret("still"),
        **values,
    )


def test_secrets_come_back_as_they_went_in() -> None:
    spec = specified(with_secrets())
    assert spec.headers == {"x-team": "hush"}
    assert (spec.bearer_token, spec.oauth_client_secret) == ("quiet", "still")


def test_secrets_are_not_readable_in_the_database_or_in_print() -> None:
    server = with_secrets()
    shown = repr([specified(server), vars(server), server.bearer_token, str(server.headers)])
    stored = "".join(column(server, n) for n in ("headers", "bearer_token", "oauth_client_secret"))
    for word in ("hush", "quiet", "still"):
        assert word not in shown + stored


def test_a_secret_of_one_column_cannot_be_read_in_another() -> None:
    server = with_secrets()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE store_mcpserver SET oauth_client_secret = bearer_token")
    server.refresh_from_db()
    with pytest.raises(SecretUnreadable):
        server.oauth_client_secret.reveal()


def test_a_new_first_key_encrypts_and_older_ones_still_decrypt(settings: Settings) -> None:
    server = with_secrets()
    settings.GATEWAY_ENCRYPTION_KEYS = [NEW_KEY, OLD_KEY]
    server.refresh_from_db()
    assert server.bearer_token.reveal() == "quiet"
    assert not server.bearer_token.is_current
    server.bearer_token = Secret(server.bearer_token.reveal())
    server.save()
    settings.GATEWAY_ENCRYPTION_KEYS = [NEW_KEY]
    server.refresh_from_db()
    assert server.bearer_token.is_current
    assert server.bearer_token.reveal() == "quiet"


def test_without_its_key_a_server_can_be_shown_and_repaired_but_not_used(
    settings: Settings,
) -> None:
    with_secrets()
    settings.GATEWAY_ENCRYPTION_KEYS = [NEW_KEY]
    server = McpServer.objects.get()
    assert server.bearer_token
    with pytest.raises(SecretUnreadable, match="not among GATEWAY_ENCRYPTION_KEYS"):
        mcp_servers.server_by_id(server.pk)
    server.headers = server.oauth_client_secret = Secret()
    server.bearer_token = Secret("anew")
    server.save()
    assert specified(server).bearer_token == "anew"


def test_without_any_key_secrets_are_refused_but_servers_are_not(settings: Settings) -> None:
    settings.GATEWAY_ENCRYPTION_KEYS = []
    make_mcp_server("open")
    with pytest.raises(NoEncryptionKey), transaction.atomic():
        with_secrets()


def test_encrypted_columns_cannot_be_searched() -> None:
    with pytest.raises(FieldError, match="cannot be searched"):
        McpServer.objects.filter(bearer_token=Secret("quiet")).exists()


@pytest.mark.parametrize(
    "url",
    [
        "https://tools.example.org:8443/mcp",
        "http://tools.example.org/mcp",
        "https://tools.example.com/mcp",
    ],
)
def test_stored_secrets_do_not_follow_a_server_to_another_origin(url: str) -> None:
    with_secrets()
    server = McpServer.objects.get()
    server.url = url
    server.save()
    spec = specified(server)
    assert (spec.headers, spec.bearer_token, spec.oauth_client_secret) == ({}, "", "")


def test_the_oauth_secret_does_not_follow_to_another_issuer() -> None:
    with_secrets(oauth_issuer="https://issuer.example.org")
    server = McpServer.objects.get()
    server.oauth_issuer = "https://elsewhere.example.org"
    server.save()
    spec = specified(server)
    assert (spec.oauth_client_secret, spec.bearer_token) == ("", "quiet")


def test_secrets_stay_when_only_the_path_changes() -> None:
    with_secrets()
    server = McpServer.objects.get()
    server.url = "https://TOOLS.example.org:443/v2/mcp"
    server.save()
    assert specified(server).bearer_token == "quiet"


def test_secrets_entered_along_with_the_new_origin_are_kept() -> None:
    with_secrets()
    server = McpServer.objects.get()
    server.url, server.bearer_token = "https://elsewhere.example.org/mcp", Secret("fresh")
    server.save()
    assert (specified(server).bearer_token, specified(server).headers) == ("fresh", {})


# --- Tools ----------------------------------------------------------------------------------------

LOOK = ListedTool(
    name="look",
    description="Looks.",
    input_schema={"type": "object", "properties": {"b": {}, "a": {}}},
    annotations={"readOnlyHint": True},
)
WRITE = ListedTool(name="write", output_schema={"type": "object"})


def test_tools_come_back_whole_and_in_the_order_of_the_server() -> None:
    server = make_mcp_server("search")
    assert mcp_servers.save_tools(server.pk, [WRITE, LOOK])
    assert mcp_servers.tools_of(server.pk) == [WRITE, LOOK]
    assert list(mcp_servers.tools_of(server.pk)[1].input_schema["properties"]) == ["b", "a"]


def test_the_same_list_again_changes_no_configuration() -> None:
    server = make_mcp_server("search")
    mcp_servers.save_tools(server.pk, [LOOK, WRITE])
    before = version()
    assert not mcp_servers.save_tools(server.pk, [LOOK, WRITE])
    assert version() == before
    assert mcp_servers.save_tools(server.pk, [LOOK])
    assert version() == before + 1


def test_the_switches_of_a_tool_survive_its_absence() -> None:
    server = make_mcp_server("search")
    mcp_servers.save_tools(server.pk, [LOOK, WRITE])
    McpTool.objects.filter(name="write").update(enabled=False)
    mcp_servers.save_tools(server.pk, [LOOK])
    assert mcp_servers.tools_of(server.pk) == [LOOK]
    mcp_servers.save_tools(server.pk, [WRITE, LOOK])
    assert mcp_servers.tools_of(server.pk) == [WRITE, LOOK]
    assert not specified(server).admits("write", None)


def test_of_two_tools_with_one_name_the_first_counts() -> None:
    server = make_mcp_server("search")
    mcp_servers.save_tools(server.pk, [LOOK, WRITE, ListedTool(name="look", description="Again.")])
    assert mcp_servers.tools_of(server.pk) == [LOOK, WRITE]


def test_what_is_too_long_or_no_text_does_not_lose_the_list() -> None:
    server = make_mcp_server("search")
    strange = [ListedTool(name=name) for name in ("", "x" * 256, "a\0b")]
    long = ListedTool(name="x" * 255, title="\0" + "t" * 600, description="a\0b")
    assert mcp_servers.save_tools(server.pk, [*strange, long, LOOK])
    assert mcp_servers.tools_of(server.pk) == [
        ListedTool(name="x" * 255, title="t" * 512, description="ab"),
        LOOK,
    ]
    assert not mcp_servers.save_tools(server.pk, [*strange, long, LOOK])


def test_tools_and_health_of_a_deleted_server_are_dropped_without_a_word() -> None:
    server = make_mcp_server("search")
    gone = server.pk
    server.delete()
    assert not mcp_servers.save_tools(gone, [LOOK])
    mcp_servers.record_success(gone, latency_ms=1)
    assert not McpHealth.objects.exists()


def test_a_description_with_a_null_character_can_be_kept() -> None:
    server = make_mcp_server("search")
    mcp_servers.save_tools(server.pk, [ListedTool(name="a", description="x\0y")])
    assert mcp_servers.tools_of(server.pk)[0].description == "xy"


@pytest.mark.parametrize(
    ("values", "admitted"),
    [
        ({}, {"look", "write"}),
        ({"allowed_tools": ["write"]}, {"write"}),
        ({"allowed_tools": []}, set()),
        ({"read_only": True}, set()),
        ({"read_only": True, "trusted": True}, {"look"}),
    ],
)
def test_the_operator_restricts_the_tools(values: dict[str, Any], admitted: set[str]) -> None:
    spec = specified(make_mcp_server("search", **values))
    tools = (LOOK, WRITE)
    assert {tool.name for tool in tools if spec.admits(tool.name, tool.annotations)} == admitted


@pytest.mark.parametrize(
    ("approval", "needed"),
    [("always", {"look", "write", "new"}), ("never", set()), ("per_tool", {"write", "new"})],
)
def test_the_operator_says_which_calls_need_an_approval(approval: str, needed: set[str]) -> None:
    server = make_mcp_server("search", approval=approval)
    mcp_servers.save_tools(server.pk, [LOOK, WRITE])
    McpTool.objects.filter(name="look").update(needs_approval=False)
    spec = specified(server)
    assert {name for name in ("look", "write", "new") if spec.needs_approval(name)} == needed


def test_the_fingerprint_changes_with_what_the_model_is_told() -> None:
    renamed = ListedTool(name="look", description="Looks!", input_schema=LOOK.input_schema)
    same = ListedTool(name="look", description="Looks.", input_schema=LOOK.input_schema, title="L")
    assert renamed.fingerprint != LOOK.fingerprint == same.fingerprint


# --- Health ---------------------------------------------------------------------------------------


def test_a_success_closes_the_breaker_and_keeps_the_last_error() -> None:
    server = make_mcp_server("search")
    later = timezone.now() + timedelta(seconds=30)
    mcp_servers.record_failure(server.pk, "refused")
    mcp_servers.record_breaker(server.pk, failures=3, breaker="open", retry_at=later)
    health = mcp_servers.health_of([server.pk])[server.pk]
    assert (health.breaker, health.failures, health.retry_at) == ("open", 3, later)
    mcp_servers.record_success(server.pk, latency_ms=12, server_name="toys", server_version="1")
    health = mcp_servers.health_of([server.pk])[server.pk]
    assert (health.breaker, health.failures, health.retry_at) == ("closed", 0, None)
    assert (health.last_error, health.latency_ms) == ("refused", 12)


def test_an_open_breaker_counts_until_it_lets_one_try() -> None:
    server = make_mcp_server("search")
    for seconds, away in ((30, True), (-1, False)):
        at = timezone.now() + timedelta(seconds=seconds)
        mcp_servers.record_breaker(server.pk, failures=3, breaker="open", retry_at=at)
        assert mcp_servers.health_of([server.pk])[server.pk].is_away is away


def test_a_server_that_was_edited_is_tried_anew() -> None:
    server = make_mcp_server("search")
    later = timezone.now() + timedelta(seconds=30)
    mcp_servers.record_breaker(server.pk, failures=3, breaker="open", retry_at=later)
    server.save()
    assert not mcp_servers.health_of([server.pk])[server.pk].is_away
