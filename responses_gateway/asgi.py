"""The ASGI application: the API through its slim handler, the rest through Django's."""

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "responses_gateway.settings")

from channels.routing import ProtocolTypeRouter
from channels.security.websocket import WebsocketDenier
from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from apps.api.handler import ApiHandler  # noqa: E402 - after Django is set up
from responses_gateway.hosting import warn_unless_own_server  # noqa: E402

api_application = ApiHandler()

OURS = frozenset({"v1", "health", "ready", "metrics"})
MEANT = frozenset(
    {"responses", "chat", "completions", "embeddings", "models", "files", "containers"}
)
"""Folders of the API: who forgot /v1 is told so in its form."""


async def http(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """By path: what streams or must be quick stays clear of Django's own handler."""
    folder = scope["path"].lstrip("/").partition("/")[0]
    is_api = folder in OURS or folder in MEANT
    await (api_application if is_api else django_application)(scope, receive, send)


warn_unless_own_server()
application = ProtocolTypeRouter({"http": http, "websocket": WebsocketDenier.as_asgi()})
