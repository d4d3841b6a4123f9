"""``manage.py rotatekeys``."""

from __future__ import annotations

from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from apps.store.models import McpServer
from apps.store.secrets import Secret
from tests.store.factories import make_mcp_server

pytestmark = pytest.mark.django_db
OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


def run() -> str:
    out = StringIO()
    call_command("rotatekeys", stdout=out)
    return out.getvalue()


def test_after_it_the_old_key_can_go(settings: Settings) -> None:
    settings.GATEWAY_ENCRYPTION_KEYS = [OLD]
    make_mcp_server(bearer_token=Secret("a"), headers=Secret.mapping({"b": "c"}))
    before = McpServer.objects.get().version
    settings.GATEWAY_ENCRYPTION_KEYS = [NEW, OLD]
    assert run().startswith("2 secrets")
    assert run().startswith("0 secrets")
    settings.GATEWAY_ENCRYPTION_KEYS = [NEW]
    server = McpServer.objects.get()
    assert server.bearer_token.reveal() == "a"
    assert server.headers.reveal_mapping() == {"b": "c"}
    assert server.version == before


def test_a_secret_whose_key_is_gone_is_said(settings: Settings) -> None:
    settings.GATEWAY_ENCRYPTION_KEYS = [OLD]
    make_mcp_server(bearer_token=Secret("a"))
    settings.GATEWAY_ENCRYPTION_KEYS = [NEW]
    with pytest.raises(CommandError, match="cannot be decrypted"):
        run()
