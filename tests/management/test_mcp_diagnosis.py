"""What ``manage.py doctor`` says of MCP servers."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from pytest_django.fixtures import Settings

from apps.api.management.diagnosis import Check, State
from apps.api.management.mcp_diagnosis import mcp_servers
from apps.store.secrets import Secret
from tests.store.factories import make_mcp_server
from tests.tools.mcp.servers import OnHttp, toys

pytestmark = pytest.mark.django_db


def test_without_servers_there_is_nothing_to_say() -> None:
    make_mcp_server(enabled=False)
    assert mcp_servers() == []


def test_each_enabled_server_has_a_line() -> None:
    with OnHttp(toys().streamable_http_app()) as running:
        make_mcp_server("toys", url=running.url())
        make_mcp_server("absent", transport="stdio", command="no-such-program")
        absent, found = mcp_servers()
    assert absent.state is State.FAULT
    assert "no program" in absent.text
    assert (found.name, found.state) == ("mcp toys", State.OK)
    assert found.text.startswith("2 tools, ")


def test_a_server_whose_secrets_cannot_be_decrypted_is_a_fault(settings: Settings) -> None:
    settings.GATEWAY_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    make_mcp_server("toys", bearer_token=Secret("t0ken"))
    settings.GATEWAY_ENCRYPTION_KEYS = []
    (check,) = mcp_servers()
    assert isinstance(check, Check)
    assert (check.name, check.state) == ("mcp toys", State.FAULT)
    assert "cannot be decrypted" in check.text
