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


async def http(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """By path: what streams or must be quick stays clear of Django's own handler."""
    path = scope["path"]
    is_api = path.startswith("/v1/") or path in ("/v1", "/health", "/ready", "/metrics")
    await (api_application if is_api else django_application)(scope, receive, send)


warn_unless_own_server()
application = ProtocolTypeRouter({"http": http, "websocket": WebsocketDenier.as_asgi()})
