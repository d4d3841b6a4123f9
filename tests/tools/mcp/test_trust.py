"""Whom the gateway trusts: servers of requests, approvals that come back, and hints of servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pytest_django import Settings
from structlog.testing import capture_logs

from apps.tools.base import Decision, ToolRefused, Verdict
from apps.tools.mcp.connection import translated
from apps.tools.mcp.probe import probe
from tests.tools.mcp.servers import OnHttp
from tests.tools.mcp.sessions import Store, call, declare, play, run_info, running, text, works
from tests.tools.mcp.wicked import Journal, wicked


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    return Store(monkeypatch)


@pytest.fixture
def server(tmp_path: Path, store: Store) -> Iterator[OnHttp]:
    with OnHttp(wicked(Journal(tmp_path / "journal")).streamable_http_app()) as http:
        store.add(url=http.url())
        yield http


async def refusal(declaration: dict[str, Any]) -> ToolRefused:
    async with running() as runtime:
        with pytest.raises(ToolRefused) as refused:
            async with runtime.open(declaration, run_info()):
                pass
    return refused.value


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/mcp",
        "https://localhost/mcp",
        "https://10.1.2.3/mcp",
        "https://169.254.169.254/mcp",
        "https://[::1]/mcp",
        "https://2130706433/mcp",
        "http://example.org/mcp",
        "ftp://example.org/mcp",
        "https://user:pass@example.org/mcp",
        "no url",
    ],
)
def test_servers_of_requests_are_public_ones(store: Store, url: str) -> None:
    async def scenario() -> None:
        assert (await refusal(declare(server_url=url))).param == "server_url"

    play(scenario())


def test_private_servers_of_requests_are_reached_where_the_operator_lets_them_but_not_metadata(
    store: Store, server: OnHttp, settings: Settings
) -> None:
    settings.GATEWAY_MCP_ALLOW_PRIVATE_NETWORKS = True
    store.servers.clear()

    async def scenario() -> None:
        declaration = declare(server_url=server.url(), require_approval="never")
        async with running() as runtime, runtime.open(declaration, run_info()) as session:
            assert text(await call(session, "echo", text="hi")) == "hi"
        refused = await refusal(declare(server_url="http://169.254.169.254/mcp"))
        assert refused.param == "server_url"

    play(scenario())


def test_a_redirect_to_another_place_is_not_followed(
    store: Store, server: OnHttp, settings: Settings
) -> None:
    settings.GATEWAY_MCP_ALLOW_PRIVATE_NETWORKS = True
    store.servers.clear()
    before = len(server.headers)

    async def redirect(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = [(b"location", server.url().encode())]
            await send({"type": "http.response.start", "status": 307, "headers": headers})
            await send({"type": "http.response.body", "body": b""})

    async def scenario() -> None:
        with OnHttp(redirect) as http:
            declaration = declare(server_url=http.url(), headers={"X-Key": "secret"})
            assert (await refusal(declaration)).param == "server_url"
        assert len(server.headers) == before

    play(scenario())


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"server_label": "unknown"}, "server_label"),
        ({"server_url": "https://example.org/mcp"}, "server_url"),
        ({"connector_id": "connector_gmail"}, "connector_id"),
        ({"tunnel_id": "t"}, "tunnel_id"),
        ({"defer_loading": True}, "defer_loading"),
        ({"headers": {"X-Key": "1"}}, "headers"),
        ({"authorization": "token"}, "authorization"),
        ({"allowed_tools": []}, "allowed_tools"),
        ({"allowed_tools": ["no such tool"]}, "allowed_tools"),
        ({"allowed_tools": {"tool_names": []}}, "allowed_tools"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    server: OnHttp, fields: dict[str, Any], param: str
) -> None:
    async def scenario() -> None:
        assert (await refusal(declare() | fields)).param == param

    play(scenario())


def test_the_operator_names_the_hosts_that_requests_may_bring(
    store: Store, server: OnHttp, settings: Settings
) -> None:
    settings.GATEWAY_MCP_ALLOW_PRIVATE_NETWORKS = True
    settings.GATEWAY_MCP_ALLOWED_HOSTS = ["tools.example.org"]
    own = declare("own", server_url=server.url())

    async def scenario() -> None:
        assert "not allowed" in str(await refusal(own))
        settings.GATEWAY_MCP_ALLOWED_HOSTS = ["127.0.0.1"]
        async with running() as runtime, runtime.open(own, run_info()) as session:
            assert session.functions

    play(scenario())


def test_a_server_that_is_switched_off_is_refused(store: Store, server: OnHttp) -> None:
    store.add(url=server.url(), enabled=False)

    async def scenario() -> None:
        assert (await refusal(declare())).param == "server_label"

    play(scenario())


# --- Hints --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "spec", "found"),
    [
        ({"read_only": True}, {"trusted": True}, {"echo"}),
        ({"read_only": False}, {"trusted": True}, {"fail"}),
        ({"read_only": False}, {"trusted": False}, {"fail"}),
        ({"read_only": False, "tool_names": ["echo", "fail"]}, {"trusted": False}, {"fail"}),
    ],
)
def test_a_filter_by_hints_believes_trusted_servers(
    store: Store, server: OnHttp, fields: Any, spec: Any, found: set[str]
) -> None:
    store.add(url=server.url(), **spec)

    async def scenario() -> None:
        declaration = declare(allowed_tools=fields)
        async with running() as runtime, runtime.open(declaration, run_info()) as session:
            names = {function.name for function in session.functions}
        assert names & {"echo", "fail"} == found

    play(scenario())


def test_of_a_server_that_is_not_trusted_no_tool_is_known_to_only_read(
    store: Store, server: OnHttp
) -> None:
    async def scenario() -> None:
        refused = await refusal(declare(allowed_tools={"read_only": True}))
        assert refused.param == "allowed_tools"
        assert "not trusted" in str(refused)

    play(scenario())


def test_who_brings_a_server_may_go_by_its_hints_but_has_to_approve(
    store: Store, server: OnHttp, settings: Settings
) -> None:
    settings.GATEWAY_MCP_ALLOW_PRIVATE_NETWORKS = True
    own = declare(
        "own",
        server_url=server.url(),
        allowed_tools={"read_only": True},
        require_approval={"never": {"read_only": True}},
    )

    async def scenario() -> None:
        async with running() as runtime, runtime.open(own, run_info()) as session:
            [echo] = session.functions
        assert (echo.name, echo.needs_approval) == ("echo", True)

    play(scenario())


# --- Headers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding"])
def test_headers_of_the_connection_are_no_business_of_requests(store: Store, name: str) -> None:
    async def scenario() -> None:
        declaration = declare(server_url="https://example.org/mcp", headers={name: "1"})
        refused = await refusal(declaration)
        assert (refused.param, name.lower() in str(refused)) == ("headers", True)

    play(scenario())


SECRETS = ["s3cret\n", " s3cret", "s3cret ", "s3cret\r\nX-Other: 1", "s3crét"]


@pytest.mark.parametrize("secret", SECRETS)
def test_headers_of_requests_that_cannot_be_sent_are_refused_by_name(
    store: Store, secret: str
) -> None:
    async def scenario() -> None:
        for fields, param in (
            ({"headers": {"X-Key": secret}}, "headers"),
            ({"authorization": secret}, "authorization"),
        ):
            refused = await refusal(declare(server_url="https://example.org/mcp", **fields))
            assert refused.param == param
            assert "s3cr" not in str(refused)

    play(scenario())


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("transport", ["streamable_http", "sse"])
def test_a_secret_that_cannot_be_sent_is_told_to_nobody(
    store: Store, server: OnHttp, transport: str, secret: str
) -> None:
    async def scenario() -> None:
        for fields, name in (
            ({"headers": {"X-Key": secret}}, "X-Key"),
            ({"bearer_token": secret}, "Auth"),
        ):
            store.add(url=server.url(), transport=transport, **fields)
            with capture_logs() as logged:
                refused = await refusal(declare())
            probed = await probe(store.servers["toys"])
            ((_, told),) = store.writes("record_failure")
            store.written.clear()
            for words in (str(refused), probed.error, told):
                assert f"The header '{name}" in words
                assert "s3cr" not in words
            assert "s3cr" not in repr(logged)

    play(scenario())


def test_what_libraries_say_of_headers_is_told_to_nobody() -> None:
    quoting = httpx2.LocalProtocolError("Illegal header value b'Bearer s3cret\\n'")
    group = ExceptionGroup("unhandled errors in a TaskGroup", [quoting])
    assert str(translated(group)) == "The connection to the server failed."


# --- Approvals ----------------------------------------------------------------------------------


async def needing(store: Store, server: OnHttp, declaration: Any, **spec: Any) -> set[str]:
    """Which of echo (which says it only reads) and fail need approval."""
    store.add(url=server.url(), **spec)
    async with running() as runtime, runtime.open(declare(**declaration), run_info()) as session:
        asked = {function.name for function in session.functions if function.needs_approval}
    return asked & {"echo", "fail"}


BOTH, READING = {"echo", "fail"}, {"never": {"read_only": True}}


@pytest.mark.parametrize(
    ("spec", "required", "asked"),
    [
        ({"approval": "never"}, None, set()),
        ({"approval": "always"}, None, BOTH),
        ({"approval": "always"}, "never", BOTH),
        ({"approval": "never"}, "always", BOTH),
        ({"approval": "never"}, {"always": {"tool_names": ["fail"]}}, {"fail"}),
        ({"approval": "always"}, READING, BOTH),
        ({"approval": "never"}, READING, BOTH),
        ({"approval": "never", "trusted": True}, READING, {"fail"}),
    ],
)
def test_the_stricter_of_operator_and_request_wins_and_hints_count_where_trusted(
    store: Store, server: OnHttp, spec: Any, required: Any, asked: set[str]
) -> None:
    async def scenario() -> None:
        declaration = {} if required is None else {"require_approval": required}
        assert await needing(store, server, declaration, **spec) == asked

    play(scenario())


def test_an_approval_is_for_this_call_of_this_project_and_no_other(
    store: Store, server: OnHttp
) -> None:
    async def scenario() -> None:
        async with running() as runtime:
            async with runtime.open(declare(), run_info()) as session:
                asked = session.approval_request_id("echo", '{"text": "hi", "times": 1}')
            assert asked.startswith("mcpr_")

            async def verdict(project: int = 1, **changes: Any) -> Verdict:
                same: dict[str, Any] = {"request_id": asked, "name": "echo", "approve": True}
                same["arguments"] = '{"times":1,"text":"hi"}'
                async with runtime.open(declare(), run_info(project_id=project)) as session:
                    return await session.decide(Decision(**same | changes))

            assert await verdict() is Verdict.VALID
            assert await verdict(project=2) is Verdict.FORGED
            assert await verdict(name="fail") is Verdict.FORGED
            assert await verdict(arguments='{"text": "rm"}') is Verdict.FORGED
            assert await verdict(request_id="mcpr_" + "0" * len(asked[5:])) is Verdict.FORGED
            assert await verdict(request_id="mcpr_é") is Verdict.FORGED
            assert len(store.writes("record_decision")) == 1

    play(scenario())


def test_a_tool_that_has_changed_needs_approval_again(store: Store, server: OnHttp) -> None:
    async def scenario() -> None:
        async with running() as runtime:
            async with runtime.open(declare(), run_info()) as session:
                asked = session.approval_request_id("echo", "{}")
                assert text(await call(session, "swap")) == "ok"
                await call(session, "echo", text="hi")
            decision = Decision(request_id=asked, name="echo", arguments="{}", approve=True)
            async with runtime.open(declare(), run_info()) as session:
                assert await session.decide(decision) is Verdict.STALE

    play(scenario())


def test_calls_are_written_down_with_their_outcome(store: Store, server: OnHttp) -> None:
    async def scenario() -> None:
        async with running() as runtime:
            await works(runtime)
            async with runtime.open(declare(), run_info()) as session:
                await call(session, "fail")
        records = [args[0] for args in store.writes("log_call")]
        assert [(record.tool, record.outcome) for record in records] == [
            ("echo", "ok"),
            ("fail", "tool_error"),
        ]

    play(scenario())
