"""Fixtures of the tests of MCP."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.test import Client
from pytest_django.fixtures import Settings


@pytest.fixture
def admin_client(db: None) -> Client:
    """A superuser's client."""
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def encrypted(settings: Settings) -> None:
    """There is a key for secrets."""
    settings.GATEWAY_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
