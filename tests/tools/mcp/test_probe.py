"""Asking an MCP server once, and what an operator is told about one that does not answer."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from apps.tools.mcp.probe import Probe, probe, probe_all
from apps.tools.mcp.program import program_transport
from tests.programs import ROOT
from tests.tools.mcp.servers import PROGRAM, OnHttp, answer, toys
from tests.tools.mcp.specs import specify


def ask(**fields: Any) -> Probe:
    return asyncio.run(probe(specify(**fields)))


def test_a_streamable_http_server_tells_its_tools_and_its_name() -> None:
    with OnHttp(toys().streamable_http_app()) as server:
        found = ask(url=server.url())
    assert found.error == ""
    assert [tool.name for tool in found.tools] == ["look", "environment"]
    assert found.tools[0].description == "Looks for a toy."
    assert found.tools[0].annotations == {"readOnlyHint": True}
    assert found.tools[0].input_schema["required"] == ["q"]
    assert (found.server_name, found.server_version) == ("toys", "1.2")


def test_an_sse_server_answers_too() -> None:
    with OnHttp(toys().sse_app()) as server:
        found = ask(transport="sse", url=server.url("/sse"))
    assert (found.error, len(found.tools)) == ("", 2)


def test_a_stdio_server_answers_too() -> None:
    found = ask(transport="stdio", **PROGRAM)
    assert (found.error, len(found.tools)) == ("", 2)


def test_a_program_has_the_listed_environment_and_nothing_else() -> None:
    async def variables() -> Any:
        spec = specify(transport="stdio", **PROGRAM, env={"LISTED": "1"})
        async with Client(program_transport(spec)) as client:
            result = await client.call_tool("environment", {})
            return result.structured_content

    assert os.environ.get("PATH")
    found = set(asyncio.run(variables())["result"])
    assert "LISTED" in found
    assert found - {"LISTED", "LC_CTYPE"} == set()  # the latter Python itself sets


def test_a_program_ends_with_its_connection(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid()));"
    )
    file = tmp_path / "pid"
    args = ("-c", f"{script} time.sleep(99)", str(file))
    found = ask(transport="stdio", command=sys.executable, args=args, connect_timeout=3.0)
    assert found.error == "It did not answer within 3 s."
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()), 0)


def test_credentials_are_sent() -> None:
    with OnHttp(toys().streamable_http_app(), token="t0ken") as server:
        found = ask(url=server.url(), bearer_token="t0ken", headers={"X-Team": "blue"})
        assert found.error == ""
        assert {headers.get("x-team") for headers in server.headers} == {"blue"}


def test_what_a_server_says_of_an_error_is_shown_to_nobody() -> None:
    with OnHttp(toys().streamable_http_app(), token="t0ken") as server:
        found = ask(url=server.url())
    assert found.error == "It answered with HTTP 401. Its credentials are missing or wrong."
    assert "secret of the tester" not in repr(found)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"url": "http://nowhere.invalid/mcp"}, "Its name is not known."),
        (
            {"url": "http://169.254.169.254/mcp"},
            "Its address may not be reached: link-local, or where clouds keep secrets.",
        ),
        (
            {"transport": "stdio", "command": "no-such-program"},
            "There is no program 'no-such-program', or no such folder.",
        ),
        (
            {"transport": "stdio", "command": sys.executable, "args": ("-c", "")},
            "The program ended, or does not speak MCP.",
        ),
        (
            {"transport": "stdio", "command": sys.executable, "args": ("-c", "print('hello')")},
            "The program ended, or does not speak MCP.",
        ),
    ],
)
def test_what_is_wrong_is_said(fields: dict[str, Any], error: str) -> None:
    assert ask(**fields).error == error


def test_a_port_where_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert ask(url=f"http://127.0.0.1:{port}/mcp").error == "Nothing answers there."


def test_a_wrong_path() -> None:
    with OnHttp(toys().streamable_http_app()) as server:
        found = ask(url=server.url("/wrong"))
    assert found.error == "It answered with HTTP 404. Check the path of the URL."


def test_a_server_that_does_not_speak_mcp() -> None:
    async def web(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await answer(send, 200, b"<html>a secret</html>")

    with OnHttp(web) as server:
        found = ask(url=server.url())
    assert found.error
    assert "secret" not in found.error


def test_a_server_that_hangs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = ask(url=f"http://127.0.0.1:{silent.getsockname()[1]}/mcp", connect_timeout=0.5)
    assert found.error == "It did not answer within 0.5 s."


def test_a_server_that_does_not_let_go_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("apps.tools.mcp.probe.LEAVING", -17.0)  # three seconds in all
    app = toys().streamable_http_app()
    clinging: list[str] = []

    async def cling(scope: Any, receive: Any, send: Any) -> None:
        if scope.get("method") == "DELETE":
            clinging.append(scope["path"])
            while (await receive())["type"] != "http.disconnect":
                pass
        elif (b"mcp-protocol-version", b"2026-07-28") in scope.get("headers", ()):
            await answer(send, 400, b"")  # which has no sessions to let go of
        else:
            await app(scope, receive, send)

    with OnHttp(cling) as server:
        found = ask(url=server.url())
    assert clinging
    assert found.error == ""


def test_an_answer_of_a_hundred_megabytes_is_not_read() -> None:
    async def flood(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b" " * 2**20, "more_body": True})
        await send({"type": "http.response.body", "body": b"{}"})

    with OnHttp(flood) as server:
        found = ask(url=server.url())
    assert found.error == "Its answer is larger than anything that makes sense."


def test_one_server_that_fails_does_not_disturb_the_others() -> None:
    with OnHttp(toys().streamable_http_app()) as server:
        specs = [specify(url=server.url()), specify(url="http://nowhere.invalid/mcp")]
        good, bad = asyncio.run(probe_all(specs))
    assert (good.error, bool(bad.error)) == ("", True)


def test_nothing_that_speaks_mcp_is_loaded_before_it_is_needed() -> None:
    """It takes a second, which each command and each process would pay for."""
    script = (
        "import os, sys, django; os.environ['DJANGO_SETTINGS_MODULE'] = 'responses_gateway.settings';"
        "django.setup(); import responses_gateway.urls; print('mcp' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
