"""OAuth client credentials: a token is got from the issuer that the operator named, and no other."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any
from urllib.parse import parse_qs

from apps.tools.mcp.probe import Probe, probe
from tests.tools.mcp.servers import OnHttp, answer, toys
from tests.tools.mcp.specs import specify


class WithIssuer:
    """An MCP application and the authorization server that gives tokens for it."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.base = ""
        self.asked: list[tuple[str, dict[str, list[str]]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        path: str = scope["path"]
        if path.startswith("/.well-known/oauth-protected-resource"):
            found = {"resource": f"{self.base}/mcp", "authorization_servers": [self.base]}
            await reply(send, found)
        elif path.startswith("/.well-known/oauth-authorization-server"):
            await reply(send, self._metadata())
        elif path == "/token":
            form = parse_qs((await receive())["body"].decode())
            self.asked.append((headers.get("authorization", ""), form))
            await reply(send, {"access_token": "t0ken", "token_type": "Bearer", "expires_in": 60})
        elif headers.get("authorization") == "Bearer t0ken":
            await self._app(scope, receive, send)
        else:
            await answer(send, 401, b"{}")

    def _metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.base,
            "authorization_endpoint": f"{self.base}/authorize",
            "token_endpoint": f"{self.base}/token",
            "response_types_supported": ["code"],
            "grant_types_supported": ["client_credentials"],
        }


async def reply(send: Any, content: dict[str, Any]) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


def ask(issuer: str = "") -> tuple[Probe, WithIssuer]:
    app = WithIssuer(toys().streamable_http_app())
    with OnHttp(app) as server:
        app.base = server.url("")
        spec = specify(
            url=server.url(),
            oauth_client_id="gateway",
            oauth_client_secret="s3cret",
            oauth_issuer=issuer or app.base,
            oauth_scope="tools",
        )
        return asyncio.run(probe(spec)), app


def test_a_token_is_got_with_the_client_credentials_and_used() -> None:
    found, app = ask()
    assert (found.error, len(found.tools)) == ("", 2)
    (credentials, form), *_ = app.asked
    assert credentials == "Basic " + base64.b64encode(b"gateway:s3cret").decode()
    assert (form["grant_type"], form["scope"]) == (["client_credentials"], ["tools"])


def test_a_server_that_names_another_issuer_gets_no_credentials() -> None:
    found, app = ask("https://issuer.example.org")
    assert found.error == "Getting a token with the OAuth client credentials failed."
    assert app.asked == []
