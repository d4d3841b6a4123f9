"""OAuth client credentials, with the scope that the operator chose."""

from __future__ import annotations

from typing import Any

import httpx2
from mcp.client.auth.extensions import client_credentials


class ClientCredentials(client_credentials.ClientCredentialsOAuthProvider):
    """As ``mcp`` has it, which lets the server choose the scope; a given one is the operator's."""

    def __init__(self, *, scope: str | None, **kwargs: Any) -> None:
        super().__init__(scope=scope, **kwargs)
        self._scope = scope

    async def _exchange_token_client_credentials(self) -> httpx2.Request:
        if self._scope:
            self.context.client_metadata.scope = self._scope
        return await super()._exchange_token_client_credentials()
